"""Limits the memory of publishes in progress; a publish over the limit is refused, not queued.

Without it, a burst of large bodies could use any amount of memory.
"""

from __future__ import annotations

from streams.gateway.http.errors import busy

FLAT_BYTES = 4096
"""Cost of a request in addition to its body: connection, parsed fields, a future."""


class Admission:
    """A budget in bytes, shared by all requests that publish."""

    def __init__(self, budget_bytes: int) -> None:
        self._left = budget_bytes

    def take(self, count: int) -> None:
        """Take `count` bytes.

        Raises:
            HTTPError: 429 if fewer are left.
        """
        if count > self._left:
            raise busy("too many publishes in progress on this worker; try again")
        self._left -= count

    def give_back(self, count: int) -> None:
        """Give `count` bytes back."""
        self._left += count


class Share:
    """The share of one request in the budget; leaving the block gives it back."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._taken = 0

    def __enter__(self) -> Share:
        self.take(FLAT_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.give_back(self._taken)
        self._taken = 0

    def take(self, count: int) -> None:
        """Take `count` more bytes.

        Raises:
            HTTPError: 429 if fewer are left.
        """
        self._admission.take(count)
        self._taken += count
