"""The timers of one partition.

Each timer is a row of the bucket ``y``: 8 bytes of due time (milliseconds), a byte for its
kind, the queue, NUL, and for some kinds a seq.  Nothing here reads a clock: time passes by
Ticks.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.fold import Rows
from streams.folds.front import Front
from streams.folds.row_keys import TIMERS

CLOSING: Final = b"c"
"""Clear up after a closed session."""
EXPIRY: Final = b"e"
"""Drop an expired delivery."""
RELEASE: Final = b"l"
"""Make a leased or delayed delivery available again."""
RETURN: Final = b"h"
"""Put a held delivery back into the inbox."""
HEARTBEAT: Final = b"s"
"""Close a session unless it sent a heartbeat."""
UNUSED: Final = b"q"
"""Delete a queue unless it was used."""


class Timer(NamedTuple):
    """One timer."""

    due: int
    kind: bytes
    queue: bytes
    seq: bytes = b""
    """8 bytes; empty when the timer concerns the whole queue."""


class Timers:
    """The timers of one partition, in the order of their due times."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._front = Front(rows, TIMERS)

    @property
    def next_due(self) -> int | None:
        """When the next timer is due (milliseconds); None without a timer."""
        key = self._front.first()
        return None if key is None else int.from_bytes(key[:8], "big")

    def due(
        self, kind: bytes, before: int, after: bytes | None, most: int
    ) -> tuple[list[bytes], bytes | None]:
        """Return the queues of the timers of a kind that are due before a time.

        Looks at `most` timers that follow `after`; returns where to continue, None at the end.
        """
        queues: list[bytes] = []
        last = None
        for number, (key, _) in enumerate(self._rows.scan(TIMERS, after), 1):
            timer = read_timer(key)
            if timer.due >= before:
                return queues, None
            if timer.kind == kind:
                queues.append(timer.queue)
            if number == most:
                last = key
                break
        return queues, last

    def set(self, timer: Timer) -> None:
        """Add a timer."""
        self._front.put(row_of(timer))

    def cancel(self, timer: Timer) -> None:
        """Remove a timer."""
        self._front.delete(row_of(timer))

    def is_next(self, kind: bytes) -> bool:
        """Tell whether the next timer is of this kind."""
        key = self._front.first()
        return key is not None and key[8:9] == kind

    def take(self, now: int) -> Timer | None:
        """Remove and return the first timer if it is due."""
        key = self._front.first()
        if key is None or int.from_bytes(key[:8], "big") > now:
            return None
        self._front.delete(key)
        return read_timer(key)


def read_timer(suffix: bytes) -> Timer:
    """Return the timer that a row's suffix holds."""
    queue, _, seq = suffix[9:].partition(b"\0")
    return Timer(int.from_bytes(suffix[:8], "big"), suffix[8:9], queue, seq)


def row_of(timer: Timer) -> bytes:
    """Return the suffix of a timer's row."""
    return timer.due.to_bytes(8, "big") + timer.kind + timer.queue + b"\0" + timer.seq
