"""How one partition shares the event loop: time slices, and pauses between deferred work."""

from __future__ import annotations

import asyncio
import time
from typing import Final

SLICE_SECONDS: Final = 0.002
"""How long a fold may hold the event loop: with all of 16 partitions busy, a request waits for
16 of these."""
WORK_SLICE_SECONDS: Final = 0.001
"""How long deferred work runs at a time."""
WORK_PAUSE_SECONDS: Final = (0.004, 0.012)
"""The pause after that: the shortest while the event loop keeps up, the longest otherwise."""
LATE_SECONDS: Final = 0.003
"""An event loop that is later than this does not keep up."""


class TimeSlice:
    """Yields to the event loop when its task has run for `SLICE_SECONDS`."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = 0.0

    def begin(self) -> None:
        """Start a slice: the task has just been resumed."""
        self._began = time.monotonic()

    async def share(self) -> None:
        """Let the event loop run others if the slice is over."""
        if time.monotonic() - self._began > SLICE_SECONDS:
            await asyncio.sleep(0)
            self._began = time.monotonic()


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
