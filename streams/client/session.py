"""A session of a queue, as a context: what is bound within it ends with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from streams.client.client import Client
    from streams.client.subscription import Subscription


class Session:
    """An open session of a queue; leaving the block closes it.

    A queue has one at a time: a new one takes over, and ends what was bound within the old.
    """

    def __init__(self, client: Client, queue: str, id: str, groups: Sequence[str]) -> None:
        self.queue = queue
        self.id = id
        self._client = client
        self._groups = tuple(groups)

    async def __aenter__(self) -> Session:
        await self._client.open_session(self.queue, self.id, self._groups)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close_session(self.queue, self.id)

    async def join(self, group: str) -> None:
        """Bind the queue to a group for as long as the session is open."""
        await self._client.bind(group, self.queue, session=self.id)

    async def leave(self, group: str) -> None:
        """Remove the binding again, if it is this session's."""
        await self._client.unbind(group, self.queue, session=self.id)

    def subscribe(self, *, auto_ack: bool = True, prefetch: int = 100) -> Subscription:
        """Subscribe to the queue of the session."""
        return self._client.subscribe(self.queue, auto_ack=auto_ack, prefetch=prefetch)
