"""The limits of a connection, and how what is not even HTTP is answered.

Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import ssl

from aiohttp import web

from streams.gateway.http.errors import HTTPError
from streams.gateway.http.responses import error_response

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75.0
"""An idle connection, or one that does not finish the head of a request, lives this long."""
MAX_CONNECTIONS = 10_000
BACKLOG = 1024
MAX_HEAD_LINE = 8190
"""Longest request line, and longest header field, in bytes."""
HANDSHAKE_SECONDS = 10.0
"""How long TLS may take to be agreed on; until then a connection is not counted."""
LINGER_SECONDS = 3.0
"""How long the rest of a refused body is read and thrown away, so that the answer arrives."""
REFUSE_SECONDS = 10.0
"""How long a client that is refused may go on sending."""
SILENCE_SECONDS = 0.5
"""Who has sent nothing for so long has sent all."""

SERVER = "streams"
"""What answers call the server: not which version of what it is made of."""
COMMON_HEADERS = {"Server": SERVER, "X-Content-Type-Options": "nosniff"}
"""On every answer: what it says it is, it is."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 76\r\n\r\n"
    b'{"error":{"code":"unavailable","message":"too many connections; try again"}}'
)


def connection_limit() -> int:
    """Return how many connections are let in: a third of the process's open files at most.

    Each may need another one to the owner of what it asks for; the tables need the rest.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 3)


class Connection(web.RequestHandler):
    """One connection of a client."""

    _full: asyncio.Future[None] | None = None
    _thrown_away: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse one connection too many with an answer that says so."""
        super().connection_made(transport)
        server = self._manager
        if (
            isinstance(server, Server)
            and server.is_full
            and isinstance(transport, asyncio.Transport)
        ):
            transport.write(_FULL)
            self.force_close()

    @property
    def is_full(self) -> bool:
        """Whether more is to be sent than the client has taken for a while."""
        return self._full is not None

    async def room(self) -> None:
        """Wait until the client has taken most of what it was sent, or is gone."""
        if self._full is not None:
            await asyncio.shield(self._full)

    def pause_writing(self) -> None:
        """Note that much is unsent."""
        super().pause_writing()
        self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Note that little is unsent."""
        super().resume_writing()
        self._empty()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go who waits for the client."""
        super().connection_lost(exc)
        self._empty()

    def _empty(self) -> None:
        full, self._full = self._full, None
        if full is not None:
            full.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._thrown_away is None:
            super().data_received(data)
        else:
            self._thrown_away += len(data)

    async def refuse(self, farewell: bytes, most: int) -> None:
        """Say a last word, throw away what the client still sends, and close.

        Only who has sent all that it began to send reads what it is told.  It ends when the
        client is gone or silent, after `most` bytes, or after some seconds.
        """
        if self.transport is None:
            return
        self._thrown_away = 0
        self.transport.write(farewell)
        self.transport.resume_reading()
        loop = asyncio.get_running_loop()
        deadline, before = loop.time() + REFUSE_SECONDS, -1
        while before < self._thrown_away < most and loop.time() < deadline:
            before = self._thrown_away
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
        """Answer what could not be parsed as HTTP, in the shape of all errors."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        if status < 500:
            # Not its text: that has the line in it, which may be a token's.
            logger.debug("not HTTP, from %s: %s", request.remote, type(exc).__name__)
            refusal = HTTPError(status, "bad_request", "not a well-formed HTTP request")
        else:
            logger.error("a request from %s failed", request.remote, exc_info=exc)
            refusal = HTTPError(500, "internal", "internal error")
        answer = error_response(refusal)
        answer.headers["Server"] = SERVER
        answer.force_close()
        return answer


class Server(web.Server):
    """Makes a `Connection` of each connection, up to the limit."""

    limit = 0

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than the limit."""
        return len(self._connections) > self.limit

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)


async def listen(
    server: Server, host: str, port: int, tls: ssl.SSLContext | None
) -> asyncio.Server:
    """Make connections of what comes to an address; raises OSError when it cannot be had."""
    return await asyncio.get_running_loop().create_server(
        server,
        host,
        port,
        ssl=tls,
        ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
        backlog=BACKLOG,
    )
