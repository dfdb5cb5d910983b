"""One connection of a client: its limits, and the response to input that is not HTTP.

Uses only the public interface of aiohttp.  Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import StreamReader, web
from aiohttp.http import WebSocketReader

from streams.gateway.http.errors import HTTPError
from streams.gateway.http.gone import ASK_SECONDS, has_taken_all
from streams.gateway.http.receiving import (
    MAX_HEAD_BYTES,
    MAX_UNAUTHENTICATED_BYTES,
    MESSAGES_AHEAD,
    Abortable,
    Budget,
    FrameSizes,
    Unauthenticated,
)
from streams.gateway.http.responses import error_response

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75.0
"""How long a connection may be idle, or take to send the head of a request."""
MAX_HEAD_LINE = 8190
"""Longest request line, and longest header field, in bytes."""
UNAUTHENTICATED_READ_BYTES = 8 * 1024
"""Most bytes read at a time from a client that has shown no token."""
READ_BYTES = 64 * 1024
"""Most bytes read at a time of a body, or of a large frame, of other clients."""
SMALL_READ_BYTES = 16 * 1024
"""Most bytes read at a time of anything else."""
FREE_BYTES = 16 * 1024
"""Bytes of a stream's frames that are not taken from the budget."""
STEP_BYTES = 128 * 1024
"""Bytes taken from the budget at a time: two large reads."""
HEAD_SECONDS = 0.2
"""How long a pipelined request may take to begin while what follows it looks like a head."""
TLS_BUFFER_BYTES = 16 * 1024
LINGER_SECONDS = 3.0
"""How long to drain the rest of a refused body, so that the client reads the response."""
REFUSE_SECONDS = 10.0
"""How long to drain what a refused client still sends."""
SILENCE_SECONDS = 0.5
"""A refused client that is silent for this long has finished sending."""

SERVER = "streams"
"""The `Server` header; hides the version of aiohttp."""
COMMON_HEADERS = {
    "Server": SERVER,
    "X-Content-Type-Options": "nosniff",
    # Queues change all the time: no cache on the way may answer in place of a worker.
    "Cache-Control": "no-store",
}
"""Headers of every response that does not have its own."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Server: streams\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
    b"Content-Type: application/json\r\nContent-Length: 76\r\n\r\n"
    b'{"error":{"code":"unavailable","message":"too many connections; try again"}}'
)

_HEAD_END = b"\r\n\r\n"
_LONG_HEAD = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nServer: streams\r\n"
    b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
    b"Content-Type: application/json\r\nContent-Length: 78\r\n\r\n"
    b'{"error":{"code":"too_large","message":"the head of the request is too long"}}'
)
MAX_DRAINED_HEAD = 1024 * 1024
"""Most bytes to drain from a client whose head is refused."""
_TOO_BIG = 1009
_TRY_AGAIN_LATER = 1013


class Shared(Protocol):
    """What the connections of a server share (`server.Server`)."""

    authenticates: bool
    """Whether clients are trusted only once they have shown a token."""
    unauthenticated: Unauthenticated
    budget: Budget
    """Bytes for what is half received."""

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than the limit."""
        ...


class HTTPConnection(web.RequestHandler):
    """One connection of a client."""

    def __init__(self, server: web.Server, shared: Shared, **options: Any) -> None:
        super().__init__(server, **options)
        self._shared = shared
        self._drained: asyncio.Future[None] | None = None
        self._discarded: int | None = None
        self.accepted: Abortable | None = None
        """The transport that counts as unauthenticated; None if none does."""
        self.on_too_much: Callable[[int], None] | None = None
        """Called with a close code when the frames of a stream are refused."""
        self.on_unread: Callable[[], None] | None = None
        """Called to send a ping to a stream that is not read from."""
        self._trusted = False
        self._holder = ""
        self._head = 0  # bytes of a head that is incomplete
        self._head_tail = b""  # its last bytes
        self._head_ended = False  # whether its end has arrived, and its request has not begun
        self._begun = 0  # requests
        self._serving = False
        self._waiting = bytearray()  # what arrived behind the request that is served
        self._body: StreamReader | None = None  # of the last request
        self._frames: FrameSizes | None = None
        self._reader: _CountedReader | None = None  # of those frames
        self._unparsed = b""  # frames behind `MESSAGES_AHEAD` messages
        self._is_there: Callable[[], None] | None = None  # tells aiohttp, which pings otherwise
        self._asked = -math.inf  # when a ping was sent although nothing is read
        self._reserved = 0  # bytes of the budget
        self._held_back = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse the connection with a 503 if there are too many."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        if hasattr(transport, "set_read_buffer_limits"):  # TLS: 256 KiB otherwise
            transport.set_read_buffer_limits(TLS_BUFFER_BYTES)
        full = self._shared.is_full
        if not self._shared.authenticates:
            self.authenticated("")
        elif self.accepted is None:  # without TLS
            _limit_reads(transport, UNAUTHENTICATED_READ_BYTES)
            now = asyncio.get_running_loop().time()
            if self._shared.unauthenticated.admit(transport, now):
                self.accepted = transport
            else:
                full = True
        if full:
            transport.write(_FULL)
            self.force_close()

    def authenticated(self, holder: str) -> None:
        """Note that the client has shown a token; `holder` names its principal."""
        self._holder = holder
        if self._trusted:
            return
        self._trusted = True
        self._leave_unauthenticated()
        self._set_read_size()
        if self._frames is not None:
            self._frames.release_control()

    def _set_read_size(self) -> None:
        """Read much at a time only within a body or a large frame.

        A large read of small messages would cost many times its bytes.
        """
        if not self._trusted or self.transport is None:
            return
        frames = self._frames
        if frames is not None:
            # Behind a message that is complete and may wait, only what is counted already.
            much = frames.left > SMALL_READ_BYTES and not (
                frames.complete and frames.held + READ_BYTES > self._allowed
            )
        else:
            much = self._body is not None and not self._body.is_eof()
        _limit_reads(self.transport, READ_BYTES if much else SMALL_READ_BYTES)

    def _leave_unauthenticated(self) -> None:
        accepted, self.accepted = self.accepted, None
        if accepted is not None:
            self._shared.unauthenticated.remove(accepted)

    @property
    def is_full(self) -> bool:
        """Whether the send buffer is over its limit: the client reads too slowly."""
        return self._drained is not None

    async def room(self) -> None:
        """Wait until the send buffer has room, or the client has disconnected."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def pause_writing(self) -> None:
        """Note that the send buffer is full."""
        super().pause_writing()
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Note that the send buffer has room."""
        super().resume_writing()
        self._has_drained()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake whatever waits for the send buffer."""
        super().connection_lost(exc)
        self._has_drained()
        self._leave_unauthenticated()
        self._give_back()
        self._waiting.clear()
        self._reader, self._unparsed = None, b""
        self.on_too_much = self.on_unread = self._is_there = None

    def _has_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, or discard it after `refuse`."""
        if self._discarded is not None:
            self._discarded += len(data)
            return
        in_body = self._body is not None and not self._body.is_eof()
        if data and self._frames is None and self._serving and not in_body:
            # Pipelined requests wait until this one is answered: aiohttp would parse all of them.
            self._waiting += data
            if len(self._waiting) >= MAX_HEAD_BYTES and self.transport is not None:
                self._held_back = True
                self.transport.pause_reading()
            return
        super().data_received(data)
        # After its response, a request may still be sending a body that nobody reads.
        if self._frames is None and not (self._serving or in_body or self._head_ended):
            received = self._head_tail + data
            if _HEAD_END in received:
                self._head_ended = True  # what follows is a body: aiohttp bounds what it keeps
                return
            self._head += len(data)
            self._head_tail = received[1 - len(_HEAD_END) :]
            if self._head > MAX_HEAD_BYTES and not self._held_back and self.transport is not None:
                # A pipelined request may have begun to arrive: it begins soon, and more is read.
                self._held_back = True
                self.transport.pause_reading()
                loop = asyncio.get_running_loop()
                loop.call_later(HEAD_SECONDS, self._check_head, self._begun)

    def _check_head(self, begun: int) -> None:
        """Refuse a head that is too long, unless a request has begun since."""
        if self._begun != begun or self._discarded is not None or self.transport is None:
            return
        logger.debug("a head is over the limit of %d bytes", MAX_HEAD_BYTES)
        self._discarded = 0
        self._closing = asyncio.get_running_loop().create_task(
            self.refuse(_LONG_HEAD, MAX_DRAINED_HEAD)
        )

    def begin_request(self, body: StreamReader) -> None:
        """Note that a head is complete."""
        self._head, self._head_tail, self._head_ended = 0, b"", False
        self._begun += 1
        self._serving = True
        self._body = body
        self._set_read_size()
        if self._held_back:
            self._held_back = False
            if self.transport is not None:
                self.transport.resume_reading()

    def end_request(self) -> None:
        """Note that a request has been answered; read those behind it."""
        self._serving = False
        self._read_waiting()

    def _read_waiting(self) -> None:
        waiting, self._waiting = bytes(self._waiting), bytearray()
        if not waiting or self._discarded is not None:
            return
        if self._held_back:
            self._held_back = False
            if self.transport is not None:
                self.transport.resume_reading()
        self.data_received(waiting)

    @property
    def unread(self) -> int | None:
        """Descriptor of the socket if it is not read from now, None if it is."""
        transport = self.transport
        if transport is None or transport.is_closing() or transport.is_reading():
            return None
        return int(transport.get_extra_info("socket").fileno())

    def note_unread(self, now: float) -> None:
        """Send a stream that is not read from a ping; if the last one arrived, it is alive.

        Its pong cannot be read, which aiohttp would take for the end.
        """
        unread = self.unread
        if unread is None or self._is_there is None or not has_taken_all(unread):
            return
        self._is_there()
        if now - self._asked >= ASK_SECONDS and self.on_unread is not None:
            self._asked = now
            self.on_unread()

    # Frames of a stream -----------------------------------------------------------------

    def set_parser(
        self, parser: WebSocketReader, data_received_cb: Callable[[], None] | None = None
    ) -> None:
        """Pass what arrives to the reader of a WebSocket, and count it."""
        self._frames = FrameSizes()
        self._is_there = data_received_cb
        if self._trusted:
            self._frames.release_control()
        self._set_read_size()
        self._reader = _CountedReader(parser, self)
        super().set_parser(cast(Any, self._reader), data_received_cb)
        self._read_waiting()

    def frames_received(self, data: bytes) -> int:
        """Count frames that have arrived; return how many bytes of them to parse now.

        While messages are complete but not processed, the client is not read from; a message
        that is incomplete and too large is refused.
        """
        frames = self._frames
        if frames is None or self._discarded is not None:
            return 0
        if self._unparsed:  # TLS passes on what it had read before the pause
            self._unparsed += data
            return 0
        count = frames.feed(data, MESSAGES_AHEAD)
        if count < len(data):
            self._unparsed = data[count:]
            self._hold_back(frames)
        return count if self._may_hold(frames) else 0

    def _may_hold(self, frames: FrameSizes) -> bool:
        """Take what is held from the budget; return False if it is refused."""
        held = frames.held + len(self._unparsed)
        if not self._trusted:
            if held <= MAX_UNAUTHENTICATED_BYTES:
                return True
            return self._hold_back(frames) or self._refuse_frames(_TOO_BIG)
        over = held - FREE_BYTES - self._reserved
        if over > 0 and not self._hold_back(frames):
            count = -(-over // STEP_BYTES) * STEP_BYTES
            try:
                self._shared.budget.take(count, self._holder)
            except HTTPError:
                return self._refuse_frames(_TRY_AGAIN_LATER)
            self._reserved += count
        self._set_read_size()
        return True

    def frame_processed(self) -> None:
        """Note that the first unprocessed message of the stream has been processed."""
        frames = self._frames
        if frames is None:
            return
        frames.processed()
        if self._unparsed and len(frames.complete) <= MESSAGES_AHEAD // 2:
            self._parse_more()
        if self._reserved and frames.held <= FREE_BYTES:
            self._give_back()
        if (
            self._held_back
            and not self._unparsed
            and not (frames.complete and frames.held > self._allowed)
        ):
            self._held_back = False
            self.resume_reading()

    def _parse_more(self) -> None:
        data, self._unparsed = self._unparsed, b""
        assert self._reader is not None
        ended, _ = self._reader.feed_data(data)
        if ended:  # they are malformed
            self.close()

    def resume_reading(self, *options: Any, **named: Any) -> None:
        """Read from the client again, unless messages have to be processed first."""
        if self._frames is None or not self._held_back:
            super().resume_reading(*options, **named)

    @property
    def _allowed(self) -> int:
        """Bytes of frames that may be held now."""
        return FREE_BYTES + self._reserved if self._trusted else MAX_UNAUTHENTICATED_BYTES

    def _hold_back(self, frames: FrameSizes) -> bool:
        if not frames.complete:
            return False
        self._held_back = True
        self.pause_reading()
        return True

    def _refuse_frames(self, code: int) -> bool:
        if self.on_too_much is not None:
            self._discarded = 0
            self.on_too_much(code)
        elif self.transport is not None:
            self.transport.abort()
        return False

    def _give_back(self) -> None:
        reserved, self._reserved = self._reserved, 0
        if reserved:
            self._shared.budget.give_back(reserved, self._holder)

    async def refuse(self, farewell: bytes, most: int) -> None:
        """Send `farewell`, drain what the client still sends, and close.

        Many clients read only once they have finished sending.  Draining ends when the client
        is gone or silent, after `most` bytes, or after `REFUSE_SECONDS`.
        """
        if self.transport is None:
            return
        self._discarded = 0
        self.transport.write(farewell)
        self.transport.resume_reading()
        loop = asyncio.get_running_loop()
        deadline, before = loop.time() + REFUSE_SECONDS, -1
        while before < self._discarded < most and loop.time() < deadline:
            before = self._discarded
            await asyncio.sleep(SILENCE_SECONDS)
        if self.connected:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the error response to input that aiohttp could not parse."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has already started")
        if status < 500:
            # Without the text of the exception: it quotes the line, which may hold a token.
            logger.debug("malformed HTTP from %s: %s", request.remote, type(exc).__name__)
            error = HTTPError(status, "bad_request", "not a well-formed HTTP request")
        else:
            logger.error("a request from %s failed", request.remote, exc_info=exc)
            error = HTTPError(500, "internal", "internal error")
        response = error_response(error)
        response.headers.update(COMMON_HEADERS)
        response.force_close()
        return response


class _CountedReader:
    """Reads the frames of a WebSocket, and tells its connection how many bytes came."""

    def __init__(self, reader: WebSocketReader, connection: HTTPConnection) -> None:
        self._reader = reader
        self._connection = connection

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Read what has arrived, unless it is refused."""
        count = self._connection.frames_received(data)
        if not count:
            return False, b""
        return self._reader.feed_data(data if count == len(data) else data[:count])

    def feed_eof(self) -> None:
        """Note that nothing more arrives."""
        self._reader.feed_eof()


def _limit_reads(transport: asyncio.Transport, size: int) -> None:
    """Set how much asyncio reads from a socket at a time; it is 256 KiB otherwise."""
    if hasattr(transport, "max_size"):
        cast(Any, transport).max_size = size
