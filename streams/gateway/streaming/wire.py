"""Writes a stream's frames to its socket, many at a time, and no faster than the client reads.

Knows bytes and WebSocket framing (RFC 6455, section 5), not what the frames say.

`Wire` writes to the transport directly, past aiohttp's `WebSocketWriter`, which writes each
message by itself: a page of 64 deliveries of 150 bytes takes 8 us and one write to the socket, in
place of 36 us and 64 writes.  This is correct only if nothing else changes what goes over the
wire: the WebSocket must have been opened with ``compress=False`` (`Wire` checks it), and aiohttp
must write each of its own frames (pong, close) in one piece.
tests/unit/gateway/test_stream_wire.py guards both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from streams.gateway.cluster.proxy import WRITE_SECONDS
from streams.gateway.http.connection import HTTPConnection

ARRAY_BYTES: Final = 256 * 1024
"""An array ends with the frame that takes it over this size."""
FAREWELL_BYTES: Final = 64 * 1024 * 1024
"""Bytes of an oversized frame to drain before disconnecting."""

_REASONS: Final[dict[int, bytes]] = {
    aiohttp.WSCloseCode.MESSAGE_TOO_BIG: b"the frame is too long",
    aiohttp.WSCloseCode.TRY_AGAIN_LATER: b"too much is half received; try again",
}
_TEXT: Final = 0x81  # final fragment, opcode 1
_CLOSE: Final = 0x88
_PING: Final = 0x89
_short = Struct("!BB").pack
_medium = Struct("!BBH").pack
_long = Struct("!BBQ").pack


class Socket(web.WebSocketResponse):
    """A WebSocket that tells a client that its frame is too long before it disconnects.

    The close code would be lost if the connection were closed while the client still sends,
    so the rest of the frame is drained first.
    """

    _connection: HTTPConnection | None = None
    _refused = False
    _refusing: asyncio.Task[bool] | None = None

    def __init__(self, **options: Any) -> None:
        """Take the options of aiohttp's WebSocket, except `autoping`."""
        super().__init__(autoping=False, **options)

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:
        """Return the next message; answer pings, and tell the connection that they are done."""
        while True:
            message = await super().receive(timeout)
            if message.type is aiohttp.WSMsgType.PING:
                await self.pong(message.data)
            elif message.type is not aiohttp.WSMsgType.PONG:
                return message
            if self._connection is not None:
                self._connection.frame_processed()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Upgrade the request's connection."""
        if isinstance(request.protocol, HTTPConnection):
            self._connection = request.protocol
            self._connection.on_too_much = self._too_much
            self._connection.on_unread = self._ask
        return await super().prepare(request)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent."""
        return self._refused or super().closed

    async def close(
        self, *, code: int = aiohttp.WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        """Send a close frame, wait for the client's, and close the connection."""
        if code not in _REASONS or self.closed:
            return not self._refused and await super().close(
                code=code, message=message, drain=drain
            )
        self._refused = True
        if self._connection is not None:
            payload = code.to_bytes(2, "big") + _REASONS[code]
            await self._connection.refuse(_short(_CLOSE, len(payload)) + payload, FAREWELL_BYTES)
        return True

    async def release(self) -> None:
        """Let go of what has been received, if the client is gone.

        aiohttp's timer for pings would keep the socket and all that it holds for 20 s.  Closing
        ends it; nothing can be sent any more, so this does not wait.
        """
        if self._connection is not None and not self._connection.connected:
            await super().close(drain=False)

    def _ask(self) -> None:
        connection = self._connection
        if not self.closed and connection is not None and connection.transport is not None:
            connection.transport.write(_short(_PING, 0))

    def _too_much(self, code: int) -> None:
        if not self.closed:
            self._refusing = asyncio.get_running_loop().create_task(self.close(code=code))


class Wire:
    """Sends frames over one WebSocket."""

    def __init__(
        self, socket: web.WebSocketResponse, request: web.BaseRequest, batch: bool
    ) -> None:
        """Take an open WebSocket, and whether its client receives arrays of frames.

        Raises:
            ValueError: the WebSocket compresses its messages.
        """
        if socket.compress:
            raise ValueError("a compressed WebSocket cannot be written to directly")
        self._socket = socket
        self._request = request
        self._batch = batch

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent."""
        return self._socket.closed

    async def send(self, texts: list[bytes]) -> None:
        """Send frames in order; return when the client has taken most of what is unsent.

        Raises:
            ConnectionResetError: the client is gone, or does not read.
        """
        transport, connection = self._request.transport, self._request.protocol
        if self._socket.closed or transport is None or transport.is_closing():
            raise ConnectionResetError("the stream has ended")
        transport.write(framed(arrays(texts) if self._batch else texts))
        assert isinstance(connection, HTTPConnection)
        if connection.is_full:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await connection.room()
            except TimeoutError:
                raise ConnectionResetError(
                    f"the client has not read for {WRITE_SECONDS:g} s"
                ) from None


def framed(texts: Iterable[bytes]) -> bytes:
    """Return texts as unmasked, uncompressed WebSocket text frames, one after the other."""
    pieces = []
    for text in texts:
        size = len(text)
        if size < 126:
            pieces.append(_short(_TEXT, size))
        elif size < 1 << 16:
            pieces.append(_medium(_TEXT, 126, size))
        else:
            pieces.append(_long(_TEXT, 127, size))
        pieces.append(text)
    return b"".join(pieces)


def arrays(texts: Iterable[bytes]) -> Iterable[bytes]:
    """Yield the texts in JSON arrays of about `ARRAY_BYTES`."""
    some: list[bytes] = []
    size = 0
    for text in texts:
        some.append(text)
        size += len(text)
        if size > ARRAY_BYTES:
            yield b"[%b]" % b",".join(some)
            some, size = [], 0
    if some:
        yield b"[%b]" % b",".join(some)
