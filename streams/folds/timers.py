"""What is to be done in one partition when its time has come.

A row of the bucket ``y`` each: 8 bytes of due time (milliseconds), a byte for what is to be
done, the queue, NUL, and perhaps a seq.  Nothing here reads a clock: time passes by Ticks.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.fold import Rows
from streams.folds.front import Front

DUE: Final = b"y"

CLOSING: Final = b"c"
"""What a session that was closed leaves is to be cleared away."""
EXPIRY: Final = b"e"
"""A delivery expires."""
RELEASE: Final = b"l"
"""A delivery that is leased or delayed is to be had again."""
RETURN: Final = b"h"
"""A held delivery comes into the inbox again."""
HEARTBEAT: Final = b"s"
"""A session must have been heard of."""
UNUSED: Final = b"q"
"""A queue must have been used."""


class Timer(NamedTuple):
    """One thing to be done."""

    due: int
    kind: bytes
    queue: bytes
    seq: bytes = b""
    """8 bytes; empty for what concerns the whole queue."""


class Timers:
    """The timers of one partition, in the order of their due times."""

    def __init__(self, rows: Rows) -> None:
        self._front = Front(rows, DUE)

    @property
    def next_due(self) -> int | None:
        """When the next timer is due, None when there is none."""
        key = self._front.first()
        return None if key is None else int.from_bytes(key[:8], "big")

    def set(self, timer: Timer) -> None:
        """Add a timer."""
        self._front.put(_key(timer))

    def cancel(self, timer: Timer) -> None:
        """Remove a timer."""
        self._front.delete(_key(timer))

    def is_next(self, kind: bytes) -> bool:
        """Tell whether the next timer is of a kind."""
        key = self._front.first()
        return key is not None and key[8:9] == kind

    def take(self, now: int) -> Timer | None:
        """Remove the first timer and return it, if it is due."""
        key = self._front.first()
        if key is None or int.from_bytes(key[:8], "big") > now:
            return None
        self._front.delete(key)
        return read_timer(key)


def read_timer(suffix: bytes) -> Timer:
    """Return what the suffix of a row says."""
    queue, _, seq = suffix[9:].partition(b"\0")
    return Timer(int.from_bytes(suffix[:8], "big"), suffix[8:9], queue, seq)


def _key(timer: Timer) -> bytes:
    return timer.due.to_bytes(8, "big") + timer.kind + timer.queue + b"\0" + timer.seq
