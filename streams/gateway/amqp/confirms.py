"""The confirms of one channel: which messages Kafka has, in as few frames as are true.  Pure."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple


class Confirm(NamedTuple):
    """A basic.ack or basic.nack for the publisher."""

    ok: bool
    tag: int
    multiple: bool
    """Whether it settles all lower tags that are not settled yet."""


class Confirms:
    """Numbers the messages of a channel from 1, and settles them in any order."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, bool | None] = {}
        """Outcome by tag, in ascending order; None while it is unknown."""
        self._settled: list[int] = []

    def published(self) -> int:
        """Return the tag of the next message."""
        self._last += 1
        self._open[self._last] = None
        return self._last

    def settle(self, tag: int, ok: bool) -> bool:
        """Note an outcome; True if it is the first since `take`, so that `take` is due."""
        self._open[tag] = ok
        self._settled.append(tag)
        return len(self._settled) == 1

    def take(self) -> list[Confirm]:
        """Return the confirms that are due, each tag in exactly one of them."""
        found: list[Confirm] = []
        upto = run = 0
        for tag, ok in self._open.items():
            if not ok:
                break
            upto, run = tag, run + 1
        if upto:
            found.append(Confirm(True, upto, run > 1))
            for tag in list(islice(self._open, run)):
                del self._open[tag]
        for tag in sorted(self._settled):
            if tag > upto:
                outcome = self._open.pop(tag)
                found.append(Confirm(bool(outcome), tag, False))
        self._settled.clear()
        return found
