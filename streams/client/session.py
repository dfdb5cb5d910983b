"""A session of a queue, as a context: what is bound within it ends with it.

With a `ttl` it says in the background that it lives, and notices when it does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from streams.client.errors import ClientError, Refused, SessionLost, Unavailable

if TYPE_CHECKING:
    from types import TracebackType

    from streams.client.client import Client
    from streams.client.subscription import Subscription

logger = logging.getLogger(__name__)

BEATS_PER_TTL = 3
NO_SESSION = "no_session"
"""Code of the answer to a heartbeat of a session that is not open."""


class Session:
    """An open session of a queue; leaving the block closes it.

    A queue has one at a time: a new one takes over, and ends what was bound within the old.
    Who holds the old one is told, if it has a `ttl`: the block is cancelled and raises
    SessionLost, or `on_lost` is called with that, and the block goes on.
    """

    def __init__(
        self,
        client: Client,
        queue: str,
        id: str,
        groups: Sequence[str],
        *,
        ttl: float | None = None,
        presence: bool = True,
        on_lost: Callable[[SessionLost], None] | None = None,
    ) -> None:
        if ttl is not None and ttl <= 0:
            raise ValueError("ttl must be more than 0 seconds")
        self.queue = queue
        self.id = id
        self.ttl = ttl
        self.lost: SessionLost | None = None
        """How it ended, when its holder did not end it."""
        self._client = client
        self._groups = tuple(groups)
        self._presence = presence
        self._on_lost = on_lost
        self._beating: asyncio.Task[None] | None = None
        self._holder: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._cancelled = False

    async def __aenter__(self) -> Session:
        await self._client.open_session(
            self.queue, self.id, self._groups, ttl=self.ttl, presence=self._presence
        )
        if self.ttl is not None:
            self._holder = asyncio.current_task()
            self._cancelling = self._holder.cancelling() if self._holder is not None else 0
            self._beating = asyncio.get_running_loop().create_task(self._beat(self.ttl))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self.lost is None:
            await self._client.close_session(self.queue, self.id)
        elif self._cancelled and self._holder is not None:
            # As asyncio.timeout does: what others cancelled stays cancelled.
            still = self._holder.uncancel() > self._cancelling
            if not still and (kind is None or issubclass(kind, asyncio.CancelledError)):
                raise self.lost from self.lost.__cause__

    async def join(self, group: str) -> None:
        """Bind the queue to a group for as long as the session is open."""
        await self._client.bind(group, self.queue, session=self.id)

    async def leave(self, group: str) -> None:
        """Remove the binding again, if it is this session's."""
        await self._client.unbind(group, self.queue, session=self.id)

    def subscribe(self, *, auto_ack: bool = True, prefetch: int = 100) -> Subscription:
        """Subscribe to the queue of the session."""
        return self._client.subscribe(self.queue, auto_ack=auto_ack, prefetch=prefetch)

    async def _beat(self, ttl: float) -> None:
        """Say that the session lives, until it does not."""
        pause = ttl / BEATS_PER_TTL
        while self.lost is None:
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(max(1.0, pause)):
                    self.lost = await self._heartbeat()
            except (TimeoutError, Unavailable) as error:
                # It may live for some time still; the next one will tell.
                logger.debug("no heartbeat of %s: %r", self.queue, error)
                self._client.requests.next_url(self._client.requests.url)
        if self._on_lost is not None:
            self._on_lost(self.lost)
        elif self._holder is not None and not self._holder.done():
            self._cancelled = True
            self._holder.cancel()

    async def _heartbeat(self) -> SessionLost | None:
        try:
            await self._client.heartbeat(self.queue, self.id)
        except ClientError as error:
            if isinstance(error, Refused) and error.code == NO_SESSION:
                return await self._who_took_over()
            lost = SessionLost(f"the session of {self.queue!r} is not kept open: {error}")
            lost.__cause__ = error
            return lost
        return None

    async def _who_took_over(self) -> SessionLost | None:
        other = (await self._client.queue(self.queue)).session
        if other == self.id:
            return None  # Asked at a worker that had not come to its Open yet.
        if other is None:
            return SessionLost(f"the session of {self.queue!r} has ended")
        return SessionLost(f"another session of {self.queue!r} has taken over", other)
