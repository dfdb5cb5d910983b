"""A session of a queue as an async context manager.

With a `ttl` it sends heartbeats in the background and notices when the session is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from streams.client.errors import ClientError, Refused, SessionLost, Unavailable

if TYPE_CHECKING:
    from streams.client.client import Client
    from streams.client.subscription import Subscription

logger = logging.getLogger(__name__)

BEATS_PER_TTL = 3
NO_SESSION = "no_session"
"""Error code of a heartbeat for a session that is not open."""


class Session:
    """An open session of a queue; leaving the block closes it.  Made by `Client.session`.

    A queue has one session at a time.  A new one takes over and ends the old one with its
    bindings.  If the old one has a `ttl`, its holder notices: the block is cancelled and
    raises `SessionLost`, or `on_lost` is called and the block continues.
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
        """Why the session was lost; None unless it was."""
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

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self.lost is None:
            await self._client.close_session(self.queue, self.id)
        elif self._cancelled and self._holder is not None:
            # As in asyncio.timeout: a task that others cancelled stays cancelled.
            still = self._holder.uncancel() > self._cancelling
            if not still and (kind is None or issubclass(kind, asyncio.CancelledError)):
                raise self.lost from self.lost.__cause__

    async def join(self, group: str) -> None:
        """Bind the queue to a group until the session ends."""
        await self._client.bind(group, self.queue, session=self.id)

    async def leave(self, group: str) -> None:
        """Remove the queue's binding to a group, if it belongs to this session."""
        await self._client.unbind(group, self.queue, session=self.id)

    def subscribe(self, *, auto_ack: bool = True, prefetch: int = 100) -> Subscription:
        """Subscribe to the queue of the session; see `Client.subscribe`."""
        return self._client.subscribe(self.queue, auto_ack=auto_ack, prefetch=prefetch)

    async def _beat(self, ttl: float) -> None:
        """Send heartbeats until the session is lost."""
        pause = ttl / BEATS_PER_TTL
        while self.lost is None:
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(max(1.0, pause)):
                    self.lost = await self._heartbeat()
            except (TimeoutError, Unavailable) as error:
                # The session may still be open; the next heartbeat will tell.
                logger.debug("heartbeat of %s failed, will retry: %r", self.queue, error)
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
                return await self._loss()
            lost = SessionLost(f"the session of {self.queue!r} cannot be kept open: {error}")
            lost.__cause__ = error
            return lost
        return None

    async def _loss(self) -> SessionLost | None:
        other = (await self._client.queue(self.queue)).session
        if other == self.id:
            return None  # The worker asked has not processed the opening yet.
        if other is None:
            return SessionLost(f"the session of {self.queue!r} has ended")
        return SessionLost(f"another session of {self.queue!r} has taken over", other)
