"""What one client's connection asks of another worker: the queues that are that worker's.

A WebSocket to the owner's own `/v1/stream`, one for each client connection and owner, so
that a client who does not read holds up nobody else.  Knows frames, no rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import orjson

from streams.errors import Unavailable
from streams.gateway.streaming import frames
from streams.gateway.streaming.subscription import StreamSubscription

logger = logging.getLogger(__name__)

MAX_UNSENT = 20_000
"""Frames that may wait to be sent to the owner before the client is not read from."""

Connect = Callable[[str], Awaitable[aiohttp.ClientWebSocketResponse]]
Relay = Callable[[StreamSubscription, int, str, bool], Awaitable[None]]


@dataclass(slots=True)
class _Asked:
    """A subscription as the owner knows it, by its ref."""

    subscription: StreamSubscription
    ref: int
    begun: bool = False
    """Whether the owner has answered; what comes before belongs to an earlier one."""
    more: int = 0
    """Credit that the owner was not told of yet."""


class Upstream:
    """The subscriptions that one connection has at one other worker."""

    def __init__(
        self,
        url: str,
        connect: Connect,
        relay: Relay,
        served: Callable[[StreamSubscription, str], None],
        lost: Callable[[StreamSubscription], None],
    ) -> None:
        self.url = url
        self._connect = connect
        self._relay = relay
        self._served = served
        self._lost = lost
        self._asked: dict[str, _Asked] = {}
        self._refs = 0
        self._unsent: deque[Callable[[], bytes | None]] = deque()
        self._to_send = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self.ended = False

    @property
    def subscriptions(self) -> list[StreamSubscription]:
        """Return what is served by this worker."""
        return [asked.subscription for asked in self._asked.values()]

    def subscribe(self, subscription: StreamSubscription, read_after: int) -> None:
        """Have the owner send what comes after the last seq sent."""
        self._refs += 1
        asked = _Asked(subscription, self._refs)
        self._asked[subscription.queue] = asked
        subscription.upstream = self

        def text() -> bytes | None:
            if self._asked.get(subscription.queue) is not asked:
                return None
            asked.more = 0
            # Only now: the credit may have grown since.
            fields: dict[str, object] = {} if read_after < 0 else {"read_after": read_after}
            if subscription.terms is None:
                fields["after"] = subscription.last
            else:
                fields |= subscription.terms.fields()
            return frames.frame(
                "subscribe",
                asked.ref,
                queue=subscription.queue,
                credit=subscription.credit,
                **fields,
            )

        self._send(text)

    def unsubscribe(self, subscription: StreamSubscription) -> None:
        """Have the owner send no more of it."""
        asked = self._asked.get(subscription.queue)
        subscription.upstream = None
        if asked is not None and asked.subscription is subscription:
            del self._asked[subscription.queue]
            text = frames.frame("unsubscribe", queue=subscription.queue)
            self._send(lambda: text)

    def give_credit(self, subscription: StreamSubscription, more: int) -> None:
        """Let the owner send so many messages more."""
        asked = self._asked.get(subscription.queue)
        if asked is None or asked.subscription is not subscription:
            return
        waits = asked.more > 0
        asked.more += more
        if waits or not more:
            return

        def text() -> bytes | None:
            given, asked.more = asked.more, 0
            if not given or self._asked.get(subscription.queue) is not asked:
                return None
            given = min(given, frames.MAX_CREDIT)
            return frames.frame("credit", queue=subscription.queue, more=given)

        self._send(text)

    @property
    def has_room(self) -> bool:
        """Whether the owner has taken most of what it is to be told."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until the owner has taken most of what it is to be told."""
        await self._room.wait()

    def close(self) -> None:
        """Close the connection; nothing is said to be lost."""
        self._asked.clear()
        self._task.cancel()

    def _send(self, text: Callable[[], bytes | None]) -> None:
        self._unsent.append(text)
        self._to_send.set()
        if len(self._unsent) >= MAX_UNSENT:
            self._room.clear()

    # The connection -----------------------------------------------------------------

    async def _run(self) -> None:
        try:
            socket = await self._connect(self.url)
            sender = asyncio.get_running_loop().create_task(self._send_all(socket))
            try:
                await self._receive_all(socket)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
                await socket.close()
        except Unavailable:
            pass
        except (ConnectionError, aiohttp.ClientError) as error:
            logger.debug("stream from %s: %r", self.url, error)
        except Exception:
            logger.exception("the stream from %s failed", self.url)
        finally:
            self.ended = True
            self._room.set()
            asked, self._asked = self._asked, {}
            for one in asked.values():
                self._lost(one.subscription)

    async def _send_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while self._unsent:
                text = self._unsent.popleft()()
                if text is not None:
                    await socket.send_str(text.decode())
            self._room.set()

    async def _receive_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            await self._received(message.data)

    async def _received(self, text: str) -> None:
        content = orjson.loads(text)
        asked = self._asked.get(content.get("queue", ""))
        if asked is None:
            return
        match content["type"]:
            case "message" if asked.begun:
                again = content.get("redelivered", False)
                await self._relay(asked.subscription, content["seq"], text, again)
            case "subscribed" if content["ref"] == asked.ref:
                asked.begun = True
                self._served(asked.subscription, self.url)
            case "unavailable" | "error" if content.get("ref") == asked.ref:
                del self._asked[asked.subscription.queue]
                self._lost(asked.subscription)
