"""How much publishing may be in hand at once; what is over is refused, not queued.

Without it a burst of large bodies would be as much memory as the clients care to send.
"""

from __future__ import annotations

from types import TracebackType

from streams.gateway.http.errors import busy

FLAT_BYTES = 4096
"""What a request costs besides its body: connection, parsed fields, a waiting future."""


class Admission:
    """A budget in bytes, shared by all requests that publish."""

    def __init__(self, budget_bytes: int) -> None:
        self._left = budget_bytes

    def take(self, count: int) -> None:
        """Take `count` bytes.

        Raises:
            HTTPError: 429, they are not there.
        """
        if count > self._left:
            raise busy("this worker has its hands full of messages to publish; try again")
        self._left -= count

    def give_back(self, count: int) -> None:
        """Return what was taken."""
        self._left += count


class Share:
    """What one request takes of the budget; leaving the block gives it back."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._taken = 0

    def __enter__(self) -> Share:
        self.take(FLAT_BYTES)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._admission.give_back(self._taken)
        self._taken = 0

    def take(self, count: int) -> None:
        """Take `count` bytes more.

        Raises:
            HTTPError: 429, they are not there.
        """
        self._admission.take(count)
        self._taken += count
