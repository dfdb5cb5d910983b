"""Connections of clients: their limits, and the response to input that is not HTTP.

Uses only the public interface of aiohttp.  Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from streams.gateway.http.errors import HTTPError
from streams.gateway.http.responses import error_response

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75.0
"""How long a connection may be idle, or take to send the head of a request."""
MAX_CONNECTIONS = 10_000
BACKLOG = 1024
MAX_HEAD_LINE = 8190
"""Longest request line, and longest header field, in bytes."""
HANDSHAKE_SECONDS = 10.0
"""How long a TLS handshake may take; the connection is not counted until it ends."""
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
    b"Content-Type: application/json\r\nContent-Length: 76\r\n\r\n"
    b'{"error":{"code":"unavailable","message":"too many connections; try again"}}'
)


def connection_limit() -> int:
    """Return the most connections to accept: at most a third of the open-files limit.

    Each may need a second one, to the worker that owns a partition; tables need the rest.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 3)


class HTTPConnection(web.RequestHandler):
    """One connection of a client."""

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._drained: asyncio.Future[None] | None = None
        self._discarded: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse the connection with a 503 if there are too many."""
        super().connection_made(transport)
        if self._server.is_full and isinstance(transport, asyncio.Transport):
            transport.write(_FULL)
            self.force_close()

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

    def _has_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, or discard it after `refuse`."""
        if self._discarded is None:
            super().data_received(data)
        else:
            self._discarded += len(data)

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
        response.headers["Server"] = SERVER
        response.force_close()
        return response


class Server(web.Server):
    """Makes an `HTTPConnection` for each client, up to a limit."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        limit: int,
        *,
        handler_cancellation: bool = False,
        **options: Any,
    ) -> None:
        """Make a server.

        Args:
            handler: returns the response to a request.
            limit: most connections at a time.
            handler_cancellation: whether to cancel the handler when the client disconnects.
            options: what `aiohttp.web.RequestHandler` takes.
        """
        super().__init__(handler, handler_cancellation=handler_cancellation)
        self._limit = limit
        self._options = options

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than the limit."""
        return len(self.connections) > self._limit

    def __call__(self) -> HTTPConnection:
        """Make the protocol of a new connection."""
        return HTTPConnection(self, loop=asyncio.get_running_loop(), **self._options)


async def listen(
    server: Server, host: str, port: int, tls: ssl.SSLContext | None
) -> asyncio.Server:
    """Listen on an address; raises OSError if it cannot be bound."""
    return await asyncio.get_running_loop().create_server(
        server,
        host,
        port,
        ssl=tls,
        ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
        backlog=BACKLOG,
    )
