"""Limits the memory of publishes in progress and of whatever is half received.

What is over the limit is refused, not queued.  Without it, a burst of large bodies, or clients
that stop in the middle of one, could use any amount of memory.
"""

from __future__ import annotations

from collections import Counter

from streams.gateway.http.errors import busy

FLAT_BYTES = 4096
"""Cost of a request in addition to its body: connection, parsed fields, a future."""


class Admission:
    """A budget in bytes, shared by requests that publish and by all that is half received."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._left = budget_bytes
        self._held: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self._budget - self._left

    def take(self, count: int, holder: str | None = None) -> None:
        """Take `count` bytes.

        A `holder` may have no more than it leaves to others: one principal that stops sending
        holds up half of the budget at most, two a third each.

        Raises:
            HTTPError: 429 if fewer are left.
        """
        left = self._left - count
        if left < 0 or (holder is not None and self._held[holder] + count > left):
            raise busy("too much is in progress on this worker; try again")
        self._left = left
        if holder is not None:
            self._held[holder] += count

    def room(self, holder: str | None = None) -> int:
        """Return how many bytes `take` would give to a holder now."""
        return self._left if holder is None else (self._left - self._held[holder]) // 2

    def owe(self, count: int, holder: str | None = None) -> None:
        """Take bytes that can no longer be refused, even if fewer are left."""
        self._left -= count
        if holder is not None:
            self._held[holder] += count

    def give_back(self, count: int, holder: str | None = None) -> None:
        """Give `count` bytes back."""
        self._left += count
        if holder is not None:
            self._held[holder] -= count
            if not self._held[holder]:
                del self._held[holder]


class Share:
    """The share of one request in the budget; leaving the block gives it back."""

    def __init__(self, admission: Admission, holder: str | None = None) -> None:
        """Take from `admission`, fairly among principals if `holder` names one."""
        self._admission = admission
        self._holder = holder
        self._taken = 0

    def __enter__(self) -> Share:
        self.take(FLAT_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.give_back(self._taken, self._holder)
        self._taken = 0

    def take(self, count: int) -> None:
        """Take `count` more bytes.

        Raises:
            HTTPError: 429 if fewer are left.
        """
        self._admission.take(count, self._holder)
        self._taken += count
