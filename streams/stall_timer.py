"""How long something stands still, not counting the time in which this process did itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Final

MOST_PAUSE_SECONDS: Final = 15.0
"""Between two looks, which wait for an answer at most; in a longer pause, this process itself
was stopped."""


class StallTimer:
    """Measures for how long something has not moved; a pure state machine but for its clock.

    A machine that is suspended, or a process that is stopped, makes no progress and must not be
    blamed for it: a long pause between two looks counts as `MOST_PAUSE_SECONDS`.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; `limit` is how many seconds something may stand still."""
        self.limit = limit
        self.waited = 0.0
        """Seconds since it moved last."""
        self._clock = clock
        self._last = clock()
        self._mark: Hashable = None

    def is_stalled(self, mark: Hashable) -> bool:
        """Look: return whether `mark` has not changed for the limit."""
        now = self._clock()
        passed, self._last = now - self._last, now
        if mark != self._mark:
            self._mark, self.waited = mark, 0.0
        else:
            self.waited += min(passed, MOST_PAUSE_SECONDS)
        return self.waited >= self.limit
