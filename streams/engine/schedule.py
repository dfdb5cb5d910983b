"""How one partition shares the event loop: time slices, and pauses between deferred work."""

from __future__ import annotations

import asyncio
import time
from typing import Final

SLICE_SECONDS: Final = (0.0005, 0.002)
"""How long a fold may hold the event loop: with all of 16 partitions busy, a request waits for
16 of these.  The shortest while the event loop has much else to do, the longest otherwise."""
TURN_SECONDS: Final = 0.006
"""A turn of the event loop, in which everything that is ready runs once, is too long then."""
WORK_SLICE_SECONDS: Final = 0.001
"""How long deferred work runs at a time."""
WORK_PAUSE_SECONDS: Final = (0.004, 0.012)
"""The pause after that: the shortest while the event loop keeps up, the longest otherwise."""
LATE_SECONDS: Final = 0.003
"""An event loop that is later than this does not keep up."""


class TimeSlice:
    """Yields to the event loop when its task has run for `seconds`.

    Each task adapts that to how long all others take in a turn.  When many partitions are busy,
    or when there is much else to do, all of them take shorter slices.
    """

    __slots__ = ("_began", "seconds")

    def __init__(self) -> None:
        self._began = 0.0
        self.seconds = SLICE_SECONDS[1]
        """The length of the slice."""

    def begin(self) -> None:
        """Start a slice: the task has just been resumed."""
        self._began = time.monotonic()

    async def share(self) -> None:
        """Let the event loop run others if the slice is over."""
        now = time.monotonic()
        if now - self._began > self.seconds:
            await asyncio.sleep(0)
            self._began = time.monotonic()
            shortest, longest = SLICE_SECONDS
            crowded = self._began - now > TURN_SECONDS
            self.seconds = min(max(self.seconds * (0.7 if crowded else 1.2), shortest), longest)


class WorkSchedule:
    """Decides when deferred work runs next, from how late the event loop is.

    Times are those of the event loop's clock.
    """

    __slots__ = ("due", "pause")

    def __init__(self) -> None:
        self.due = 0.0
        """When the next slice of work may run."""
        self.pause = WORK_PAUSE_SECONDS[0]

    def begin(self, now: float) -> None:
        """Adapt the pause: a slice of work that was due at `due` begins at `now`."""
        shortest, longest = WORK_PAUSE_SECONDS
        late = now - self.due > LATE_SECONDS
        self.pause = min(max(self.pause * (1.5 if late else 0.9), shortest), longest)

    def end(self, now: float) -> None:
        """Set when the next slice is due."""
        self.due = now + self.pause
