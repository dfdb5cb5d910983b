"""Growing pauses between the attempts of a retry loop.

Many clients that lost the same broker would otherwise try again together, and many times a
second.  Knows nothing of what is retried.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

JITTER: Final = (0.8, 1.2)
"""Each pause is multiplied by a random number from this range."""


@dataclass(slots=True)
class Pauses:
    """The pauses of one retry loop, in seconds: they double from `first` up to `longest`."""

    first: float
    longest: float
    _next: float = field(init=False, default=0.0)

    def next(self) -> float:
        """Return the pause before the next attempt, after one that failed."""
        pause = self._next or self.first
        self._next = min(2 * pause, self.longest)
        return pause * random.uniform(*JITTER)

    def reset(self) -> None:
        """Begin with the first pause again: an attempt succeeded."""
        self._next = 0.0
