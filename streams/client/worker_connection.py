"""One WebSocket connection of a subscription to one worker.

Knows frames; the subscription interprets them.  A connection that ends is not reused.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
"""Queues on one connection; the subscription opens another for more."""
SEQS_PER_FRAME = 1000
RENEW_RETRY_SECONDS = 1.0
_FATAL = range(400, 429)
"""Statuses of a failed handshake for which a retry would not help."""


class WorkerConnection:
    """A WebSocket connection to the worker at `url`, opened in the background.

    Args:
        requests: the client's HTTP session and credentials.
        url: base URL of the worker.
        on_frame: called with each frame from the worker.
        on_end: called when the connection has ended, with the failure if a retry would not
            help.
    """

    def __init__(
        self,
        requests: Requests,
        url: str,
        on_frame: Callable[[WorkerConnection, dict[str, Any]], None],
        on_end: Callable[[WorkerConnection, Refused | None], None],
    ) -> None:
        self.url = url
        self.queues: set[str] = set()
        self._requests = requests
        self._on_frame = on_frame
        self._on_end = on_end
        self._frames: deque[dict[str, Any]] = deque()
        self._acks: dict[str, list[int]] = {}
        self._to_send = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def has_room(self) -> bool:
        """Whether another queue can be subscribed on it."""
        return len(self.queues) < MAX_QUEUES and not self._task.done()

    def send(self, kind: str, **fields: Any) -> None:
        """Queue a frame for sending."""
        self._frames.append({"type": kind, **fields})
        self._to_send.set()

    def ack(self, queue: str, seqs: list[int]) -> None:
        """Queue acks of single deliveries; acks of one queue share frames."""
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
                for work in (self._send_all(socket), self._renew_token())
            ]
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        self._on_frame(self, json.loads(message.data))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await socket.close()
        except aiohttp.WSServerHandshakeError as error:
            if error.status in _FATAL:
                failure = Refused(
                    "refused", f"the worker refused the stream: {error.message}", error.status
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ClientClosed, Unavailable) as error:
            logger.debug("stream to %s ended, will reconnect: %r", self.url, error)
        finally:
            self._on_end(self, failure)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        """Open the connection; after a rejected token, try once more with a new one."""
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

    async def _renew_token(self) -> None:
        """Send a fresh token before the old one expires and the worker ends the stream."""
        credentials = self._requests.credentials
        while (left := credentials.seconds_left) is not None:
            await asyncio.sleep(left)
            try:
                self.send("auth", token=await credentials.token(), ref="auth")
            except Unavailable as error:
                logger.warning("no new token for the stream to %s: %s", self.url, error)
                await asyncio.sleep(RENEW_RETRY_SECONDS)

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
