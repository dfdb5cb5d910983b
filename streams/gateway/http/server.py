"""The server of a worker: accepts connections, up to a limit, with TLS or without.

Uses only the public interface of aiohttp.  Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from streams.gateway.http.connection import TLS_BUFFER_BYTES, HTTPConnection
from streams.gateway.http.gone import LOOK_SECONDS, Gone, probe_silent
from streams.gateway.http.receiving import MAX_UNAUTHENTICATED, Budget, Unauthenticated

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 10_000
BACKLOG = 1024
HANDSHAKE_SECONDS = 10.0
"""How long a TLS handshake may take."""
BODY_BYTES = 16 * 1024
"""Bytes of a body that nobody reads at which the client is no longer read from."""


def connection_limit() -> int:
    """Return the most connections to accept: at most a third of the open-files limit.

    Each may need a second one, to the worker that owns a partition; tables need the rest.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 3)


class TLSConnection(SSLProtocol):
    """The TLS layer of one connection.

    asyncio would make one itself, but with a buffer of 256 KiB for each connection, and without
    a bound on handshakes.
    """

    max_size = TLS_BUFFER_BYTES

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self.server = server
        self.connection = server()
        super().__init__(
            asyncio.get_running_loop(),
            self.connection,
            context,
            cast(Any, None),  # nobody waits for the handshake
            server_side=True,
            ssl_handshake_timeout=cast(Any, HANDSHAKE_SECONDS),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake, if there are not too many connections without a token."""
        assert isinstance(transport, asyncio.Transport)
        now = asyncio.get_running_loop().time()
        if not self.server.unauthenticated.admit(transport, now):
            transport.abort()
            return
        self.raw = self.connection.accepted = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another connection."""
        raw = getattr(self, "raw", None)
        if raw is not None:
            self.server.unauthenticated.remove(raw)
        super().connection_lost(cast(Any, exc))


class Server(web.Server):
    """Makes an `HTTPConnection` for each client, up to a limit."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        limit: int,
        *,
        budget: Budget,
        authenticates: bool = False,
        handler_cancellation: bool = False,
        **options: Any,
    ) -> None:
        """Make a server.

        Args:
            handler: returns the response to a request.
            limit: most connections at a time.
            budget: bytes that all connections share for what is half received.
            authenticates: whether clients are trusted only once they have shown a token.
            handler_cancellation: whether to cancel the handler when the client disconnects.
            options: what `aiohttp.web.RequestHandler` takes.
        """

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await handler(request)
            finally:
                if isinstance(request.protocol, HTTPConnection):
                    request.protocol.end_request()

        super().__init__(
            handle, request_factory=_new_request, handler_cancellation=handler_cancellation
        )
        self.budget = budget
        self.authenticates = authenticates
        self.unauthenticated = Unauthenticated(min(MAX_UNAUTHENTICATED, max(1, limit // 2)))
        self._limit = limit
        self._options = {"read_bufsize": BODY_BYTES, **options}

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than the limit."""
        return len(self.connections) > self._limit

    async def watch_unread(self) -> None:
        """Disconnect clients that are gone while they are not read from; runs until cancelled."""
        gone, clock = Gone[HTTPConnection](), asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look_at_unread(gone, clock())

    def look_at_unread(self, gone: Gone[HTTPConnection], now: float) -> None:
        """Disconnect the clients that are gone; ask the others."""
        unread = {
            connection: descriptor
            for connection in self.connections
            if isinstance(connection, HTTPConnection)
            and (descriptor := connection.unread) is not None
        }
        lost = set(gone.look(unread, now))
        for connection in unread:
            if connection not in lost:
                connection.note_unread(now)
            elif connection.transport is not None:
                logger.debug("a client is gone that was not read from")
                connection.transport.abort()

    def __call__(self) -> HTTPConnection:
        """Make the protocol of a new connection."""
        return HTTPConnection(self, self, loop=asyncio.get_running_loop(), **self._options)


async def listen(
    server: Server, host: str, port: int, tls: ssl.SSLContext | None
) -> asyncio.Server:
    """Listen on an address; raises OSError if it cannot be bound."""

    def connection() -> asyncio.BaseProtocol:
        return server() if tls is None else TLSConnection(server, tls)

    listener = await asyncio.get_running_loop().create_server(
        connection, host, port, backlog=BACKLOG
    )
    for one in listener.sockets:
        probe_silent(one)
    return listener


def _new_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    if isinstance(protocol, HTTPConnection):
        protocol.begin_request(payload)
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())
