"""One WebSocket of a subscription, to one worker, for as long as it lasts.

Knows frames; what they mean for queues is the subscription's.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from streams.client.errors import ClientClosed, Refused, Unavailable
from streams.client.requests import UNAUTHORIZED, bearer

if TYPE_CHECKING:
    from streams.client.requests import Requests

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
HEARTBEAT_SECONDS = 15.0
FRAME_BYTES = 8 * 1024 * 1024
MAX_QUEUES = 5000
"""Queues of one link; for more there is another one."""
SEQS_PER_FRAME = 1000
RENEW_AGAIN_SECONDS = 1.0
_FATAL = range(400, 429)


class Owner(Protocol):
    """The subscription that a link belongs to."""

    def received(self, link: Link, frame: dict[str, Any]) -> None:
        """Take a frame."""
        ...

    def ended(self, link: Link, failure: Refused | None) -> None:
        """Note that the link is gone; a failure is one that trying again does not cure."""
        ...


class Link:
    """A connection to the worker at `url`."""

    def __init__(self, requests: Requests, url: str, owner: Owner) -> None:
        self.url = url
        self.queues: set[str] = set()
        self._requests = requests
        self._owner = owner
        self._frames: deque[dict[str, Any]] = deque()
        self._acks: dict[str, list[int]] = {}
        self._to_send = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def has_room(self) -> bool:
        """Whether it can take another queue."""
        return len(self.queues) < MAX_QUEUES and not self._task.done()

    def send(self, kind: str, **fields: Any) -> None:
        """Send a frame, after those before it."""
        self._frames.append({"type": kind, **fields})
        self._to_send.set()

    def ack(self, queue: str, seqs: list[int]) -> None:
        """Send acks of single deliveries, together with others that wait to be sent."""
        self._acks.setdefault(queue, []).extend(seqs)
        self._to_send.set()

    async def close(self) -> None:
        """Close the connection."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failure: Refused | None = None
        try:
            socket = await self._connect()
            tasks = [
                asyncio.get_running_loop().create_task(work)
                for work in (self._send_all(socket), self._stay_known())
            ]
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        self._owner.received(self, json.loads(message.data))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await socket.close()
        except aiohttp.WSServerHandshakeError as error:
            if error.status in _FATAL:
                failure = Refused("refused", f"no stream: {error.message}", error.status)
        except (aiohttp.ClientError, OSError, TimeoutError, ClientClosed, Unavailable) as error:
            logger.debug("stream to %s: %r", self.url, error)
        finally:
            self._owner.ended(self, failure)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        """Open the connection; who is refused for the token tries once with another one."""
        credentials, renewed = self._requests.credentials, False
        while True:
            token = await credentials.token()
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._requests.session.ws_connect(
                        self.url + "/v1/stream",
                        headers=bearer(token),
                        heartbeat=HEARTBEAT_SECONDS,
                        max_msg_size=FRAME_BYTES,
                    )
            except aiohttp.WSServerHandshakeError as error:
                again = error.status == UNAUTHORIZED and not renewed and credentials.forget(token)
                if not again:
                    raise
                renewed = True

    async def _stay_known(self) -> None:
        """Show a fresh token before the old one expires and the worker ends the stream."""
        credentials = self._requests.credentials
        while (left := credentials.seconds_left) is not None:
            await asyncio.sleep(left)
            try:
                self.send("auth", token=await credentials.token(), ref="auth")
            except Unavailable as error:
                logger.warning("stream to %s: %s", self.url, error)
                await asyncio.sleep(RENEW_AGAIN_SECONDS)

    async def _send_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while self._frames:
                await socket.send_json(self._frames.popleft())
            acks, self._acks = self._acks, {}
            for queue, seqs in acks.items():
                for start in range(0, len(seqs), SEQS_PER_FRAME):
                    some = seqs[start : start + SEQS_PER_FRAME]
                    await socket.send_json({"type": "ack", "queue": queue, "seqs": some})
