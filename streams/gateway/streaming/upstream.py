"""A stream from this worker to another, for one client's subscriptions to that worker's queues.

There is one WebSocket to `/v1/stream` for each client connection and owner, so a client that
does not read delays no other.  Knows frames, no rows.
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
"""Frames to the owner that may be unsent before the client is no longer read from."""

Connect = Callable[[str], Awaitable[aiohttp.ClientWebSocketResponse]]
Relay = Callable[[StreamSubscription, int, str, bool], Awaitable[None]]


@dataclass(slots=True)
class _Asked:
    """A subscription as the owner knows it."""

    subscription: StreamSubscription
    ref: int
    begun: bool = False
    """Whether the owner has confirmed it; earlier messages belong to a former subscription."""
    more: int = 0
    """Credit that was not sent to the owner yet."""


class Upstream:
    """The subscriptions of one connection that one other worker serves."""

    def __init__(
        self,
        url: str,
        connect: Connect,
        relay: Relay,
        served: Callable[[StreamSubscription, str], None],
        lost: Callable[[StreamSubscription], None],
        deleted: Callable[[StreamSubscription], None],
        refused: Callable[[StreamSubscription, str], None],
    ) -> None:
        self.url = url
        self._connect = connect
        self._relay = relay
        self._served = served
        self._lost = lost
        self._deleted = deleted
        self._refused = refused
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
        """The subscriptions that the other worker serves."""
        return [asked.subscription for asked in self._asked.values()]

    def subscribe(self, subscription: StreamSubscription, read_after: int) -> None:
        """Ask the owner for deliveries after the last seq sent."""
        self._refs += 1
        asked = _Asked(subscription, self._refs)
        self._asked[subscription.queue] = asked
        subscription.upstream = self

        def text() -> bytes | None:
            if self._asked.get(subscription.queue) is not asked:
                return None
            asked.more = 0
            # Built when it is sent: the credit may have grown until then.
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
        """End a subscription at the owner."""
        asked = self._asked.get(subscription.queue)
        subscription.upstream = None
        if asked is not None and asked.subscription is subscription:
            del self._asked[subscription.queue]
            text = frames.frame("unsubscribe", queue=subscription.queue)
            self._send(lambda: text)

    def give_credit(self, subscription: StreamSubscription, more: int) -> None:
        """Allow the owner to send `more` further messages."""
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
        """Whether few frames are unsent."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until few frames are unsent."""
        await self._room.wait()

    def close(self) -> None:
        """Close the connection without reporting subscriptions as lost."""
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
            logger.debug("the stream from %s ended: %r", self.url, error)
        except Exception:
            logger.exception("the stream from %s failed; its queues are placed again", self.url)
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
            case "error" if content.get("ref") == asked.ref and content["code"] == "bad_field":
                del self._asked[asked.subscription.queue]
                self._refused(asked.subscription, content["message"])
            case "unavailable" | "error" if content.get("ref") == asked.ref:
                del self._asked[asked.subscription.queue]
                self._lost(asked.subscription)
            case "deleted" if asked.begun:
                del self._asked[asked.subscription.queue]
                self._deleted(asked.subscription)
