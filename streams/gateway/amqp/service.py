"""AMQP as a part of the gateway: listens, counts connections, and ends them.

Knows the rest of the gateway; the protocol is in `connection` and below.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from typing import Final

from pamqp import commands

from streams.errors import SettingsError, StreamsError
from streams.gateway.amqp import frames
from streams.gateway.amqp.connection import AMQPConnection
from streams.gateway.amqp.errors import CONNECTION_FORCED, RESOURCE_ERROR
from streams.gateway.amqp.exchanges import Exchanges
from streams.gateway.amqp.holders import Holders
from streams.gateway.amqp.login import Opened, log_in
from streams.gateway.amqp.metrics import AMQPMetrics
from streams.gateway.amqp.registry import Registry
from streams.gateway.amqp.shared import Shared
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.cluster.proxy import Proxy
from streams.gateway.metrics.registry import Metrics
from streams.gateway.streaming.service import Streaming
from streams.ports import taken
from streams.settings import Settings

logger = logging.getLogger(__name__)

MAX_UNKNOWN: Final = 500
"""Connections that may be logging in at once."""
STOP_SECONDS: Final = 5.0


class AMQP:
    """The AMQP connections of one worker."""

    def __init__(
        self,
        streaming: Streaming,
        authenticator: Authenticator,
        proxy: Proxy,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._streaming = streaming
        self._limit = 0
        self._unknown = 0
        self._connections: set[AMQPConnection] = set()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.registry = registry = Registry()
        """What connections know of each other."""
        found = AMQPMetrics(
            metrics.registry,
            lambda: len(self._connections),
            lambda: sum(one.channels for one in self._connections),
            lambda: len(registry),
        )
        self._shared = Shared(
            settings,
            authenticator,
            streaming,
            proxy,
            registry,
            Exchanges(settings),
            Holders(proxy, streaming.owners),
            found,
        )

    async def open(self, host: str, limit: int, tls: ssl.SSLContext | None) -> None:
        """Listen on STREAMS_AMQP_PORT, if it is set; at most `limit` clients may connect.

        Raises:
            SettingsError: the address cannot be bound.
        """
        port = self._settings.amqp_port
        if port is None:
            return
        self._limit = limit
        try:
            self._listener = await asyncio.start_server(self._accept, host, port, ssl=tls)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SettingsError(taken(port, host, "STREAMS_AMQP_PORT")) from error
            raise SettingsError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another "
                "STREAMS_AMQP_PORT"
            ) from error
        logger.info("AMQP listening on %s:%s", host, port)

    async def close(self) -> None:
        """Close all connections: the worker is stopping."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await asyncio.gather(
            *(
                one.close(CONNECTION_FORCED, "CONNECTION_FORCED - this worker is stopping")
                for one in list(self._connections)
            ),
            return_exceptions=True,
        )
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def check_tokens(self) -> None:
        """Close the connections whose tokens have been revoked."""
        for connection in list(self._connections):
            connection.check_token()

    def reassigned(self) -> None:
        """Note that partitions have other owners."""
        for connection in list(self._connections):
            connection.reassigned()

    # Clients ----------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        peer = writer.get_extra_info("peername")
        address = f"{peer[0]}:{peer[1]}" if peer else "?"
        try:
            await self._serve(reader, writer, address)
        except asyncio.CancelledError:
            pass  # this worker is stopping
        except Exception:
            logger.exception("the AMQP connection of %s failed", address)
        finally:
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        if self._unknown >= MAX_UNKNOWN or len(self._connections) >= self._limit:
            logger.info("refused the AMQP client %s: this worker has too many", address)
            return
        self._unknown += 1
        try:
            opened = await log_in(reader, writer, address, self._authenticator)
        finally:
            self._unknown -= 1
        if opened is not None:
            await self._run(opened)

    async def _run(self, opened: Opened) -> None:
        try:
            self._streaming.count(opened.principal, forwarded=False)
        except StreamsError as error:
            close = commands.Connection.Close(RESOURCE_ERROR, str(error)[:255], 0, 0)
            opened.writer.write(frames.encode(0, close))
            return
        connection = AMQPConnection(self._shared, opened)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._streaming.discount(opened.principal, forwarded=False)
