"""The gateway as a service of the worker: makes its parts, listens, and tells them of folds.

The only place where the parts of the gateway are put together.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from mode import Service
from yarl import URL

from streams.errors import SettingsError
from streams.folds.counts import CountsByPartition
from streams.folds.log_numbers import LogNumbers
from streams.gateway.amqp.service import AMQP
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.cluster.overview import Overview
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.cluster.proxy import Proxy
from streams.gateway.http.connection import KEEP_ALIVE_SECONDS, LINGER_SECONDS, MAX_HEAD_LINE
from streams.gateway.http.dispatcher import Dispatcher
from streams.gateway.http.memory import give_back_memory, map_large_blocks
from streams.gateway.http.routing import Routes
from streams.gateway.http.server import Server, connection_limit, listen
from streams.gateway.metrics.collectors import EngineCollector, FoldCollector, InboxCollector
from streams.gateway.metrics.inbox_sampler import InboxSampler
from streams.gateway.metrics.loop_lag import watch_loop
from streams.gateway.metrics.registry import Metrics
from streams.gateway.ports import Checkpoint, Engine, Partition
from streams.gateway.reads.activity import Activity
from streams.gateway.reads.barrier import Barrier
from streams.gateway.reads.history import History
from streams.gateway.reads.lease_results import LeaseResults
from streams.gateway.reads.long_polls import LongPolls
from streams.gateway.reads.readers import Readers
from streams.gateway.reads.row_counter import RowCounter
from streams.gateway.reads.seqs import LogEnds, Seqs
from streams.gateway.routes.amqp import AMQPRoutes
from streams.gateway.routes.cluster import ClusterRoutes
from streams.gateway.routes.events import EventRoutes
from streams.gateway.routes.exchanges import ExchangeRoutes
from streams.gateway.routes.groups import GroupRoutes
from streams.gateway.routes.history import HistoryRoutes
from streams.gateway.routes.leases import LeaseRoutes
from streams.gateway.routes.marks import MarkRoutes
from streams.gateway.routes.openapi import OpenAPIRoutes
from streams.gateway.routes.options import OptionRoutes
from streams.gateway.routes.page import PageRoutes
from streams.gateway.routes.queue_events import QueueEventRoutes
from streams.gateway.routes.queues import QueueRoutes
from streams.gateway.routes.sessions import SessionRoutes
from streams.gateway.routes.stream import StreamRoutes
from streams.gateway.routes.tables import TableRoutes
from streams.gateway.streaming.service import Streaming
from streams.gateway.writes.admission import Admission
from streams.gateway.writes.event_writer import EventWriter
from streams.gateway.writes.publishing import Publishing
from streams.ports import taken
from streams.schema_registry.translating import RegistryTranslator
from streams.settings import Settings, is_loopback

logger = logging.getLogger(__name__)

PUBLISH_BUDGET_BYTES = 64 * 1024 * 1024
UNSENT_BUDGET_BYTES = 64 * 1024 * 1024
"""What long responses may have unsent, all together."""
CONNECTION_BYTES = 64 * 1024
"""What a connection costs, roughly."""
AMQP_SHARE = 4
"""The part of the connections that AMQP clients may have beside those of HTTP, as a divisor."""
STOP_SECONDS = 5.0
"""How long requests may take to end when the worker stops."""


class Gateway(Service):
    """Answers HTTP on one worker for the whole cluster.

    Start it before the engine: until Kafka and the tables are there, requests that need them get
    a 503 with the reason.  The address comes from Faust's configuration when the service starts,
    so that `faust worker --web-port` works.

    Of the Faust `app` it needs `conf`, `engine` (see `ports`) and `settings`; `counts` holds
    what the folds of its tables count, and `registry` reads records framed for a schema registry.
    """

    def __init__(
        self,
        app: Any,
        counts: CountsByPartition,
        readers: Readers,
        registry: RegistryTranslator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.app = app
        engine: Engine = app.engine
        self._pause = engine.pause
        settings: Settings = app.settings
        self._engine = engine
        self._settings = settings
        self._readers = readers
        self._long_polls = LongPolls()
        self._lease_results = LeaseResults()
        self._barrier = Barrier()
        self._history = History(settings, self._log_numbers, registry)
        self._inboxes = InboxSampler(engine.open_partitions, counts, engine.pause)
        self.metrics = metrics = Metrics(self._long_polls)
        for collector in (
            EngineCollector(engine),
            FoldCollector(counts),
            InboxCollector(self._inboxes),
        ):
            metrics.registry.register(collector)
        self._authenticator = Authenticator(settings)
        self._authenticator.revocations.on_change = self._revoked
        self._proxy = Proxy(lambda: str(app.conf.canonical_url), metrics, settings)
        self._admission = admission = Admission(PUBLISH_BUDGET_BYTES)
        self._unsent = unsent = Admission(UNSENT_BUDGET_BYTES)
        publishing = Publishing(engine, metrics)
        self._log_ends = LogEnds(settings, engine, publishing)
        seqs = Seqs(settings.partitions, self._log_ends.known, self._log_ends.end)
        writer = EventWriter(self._authenticator, publishing, admission, seqs)
        router = PartitionRouter(engine, publishing, self._proxy, settings)
        self._streaming = Streaming(
            engine,
            self._authenticator,
            publishing,
            admission,
            router,
            self._proxy,
            settings,
            metrics,
            self._lease_results,
            readers,
            seqs,
        )
        self._amqp = AMQP(self._streaming, self._authenticator, self._proxy, settings, metrics)
        self._streaming.on_reassigned = self._amqp.reassigned
        overview = Overview(engine, self._proxy, Activity(counts, self._inboxes, metrics))
        handlers: tuple[Routes, ...] = (
            GroupRoutes(router, writer),
            HistoryRoutes(self._history, self._authenticator, publishing, admission),
            QueueRoutes(
                router,
                writer,
                self._long_polls,
                readers,
                RowCounter(),
                seqs,
                settings.retention_hours,
                unsent,
            ),
            OptionRoutes(router, writer),
            LeaseRoutes(
                self._authenticator,
                router,
                writer,
                publishing,
                admission,
                self._long_polls,
                readers,
                self._lease_results,
                unsent,
            ),
            QueueEventRoutes(router, self._long_polls, readers, seqs),
            StreamRoutes(self._streaming),
            SessionRoutes(router, writer),
            EventRoutes(self._authenticator, publishing, admission, seqs),
            ExchangeRoutes(router, settings.partitions),
            AMQPRoutes(self._amqp.registry),
            MarkRoutes(router, engine, settings),
            TableRoutes(router, self._barrier, settings.partitions),
            ClusterRoutes(engine, overview, metrics.registry),
            OpenAPIRoutes(),
            PageRoutes(),
        )
        self._dispatcher = Dispatcher(
            (route for one in handlers for route in one.bound()),
            self._authenticator,
            metrics,
            settings,
            unsent,
        )
        self._server: Server | None = None
        self._runner: web.ServerRunner | None = None
        self._listener: asyncio.Server | None = None

    # Called by the worker -----------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether any client waits for a delivery, so that they are worth collecting."""
        return bool(self._long_polls) or bool(self._streaming.watching)

    def on_delivered(self, queues: set[bytes] | None) -> None:
        """Wake the clients of these queues; call it once the rows of a chunk are readable.

        None wakes all of them: nobody collected the queues.
        """
        self._long_polls.wake(queues)
        self._streaming.watching.wake(queues)

    def on_released(self, deliveries: list[tuple[bytes, int]]) -> None:
        """Let streams send these deliveries again; call it before `on_delivered`."""
        self._streaming.watching.again(deliveries)

    def on_deleted(self, queues: Mapping[bytes, int]) -> None:
        """Tell the readers of these queues that they were deleted, by a record at these offsets."""
        self._readers.deleted(queues)
        self._long_polls.wake(set(queues))
        self._streaming.watching.deleted(queues)

    def on_leased(self, partition: Partition, results: dict[int, list[int]]) -> None:
        """Store the seqs that the Leases of a chunk got, by the offset of each Lease."""
        self._lease_results.note(partition.number, results)

    def _log_numbers(self) -> LogNumbers:
        """Return the numbers of the event logs; the engine must have started."""
        settings = self._settings
        return LogNumbers.of_topics(
            self.app.engine.topic_id,
            settings.group_events,
            settings.queue_events,
            settings.unnumbered_until,
        )

    def on_chunk_end(self, partition: Partition) -> None:
        """Read what waits for rows that are exactly those of the partition's position."""
        self._barrier.reached(partition)

    def on_lost(self, partition: Partition) -> None:
        """End whatever waits for a partition that this worker has lost."""
        reason = f"{self._engine.unreadable(partition.table, partition.number)}; try again"
        self._long_polls.end_lost(partition, reason)
        self._streaming.watching.lost(partition)
        self._barrier.lost(partition, reason)

    def on_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Count a checkpoint: its duration and its rows."""
        table = checkpoint.name.partition("/")[0]
        self.metrics.checkpoint_seconds.labels(table).observe(checkpoint.seconds)
        self.metrics.checkpoint_rows.labels(table).inc(checkpoint.rows)

    def _revoked(self) -> None:
        """End streams and long polls whose tokens have been revoked."""
        self._streaming.check_tokens()
        self._amqp.check_tokens()
        self._long_polls.wake(None)

    # Life cycle ---------------------------------------------------------------------

    @Service.task
    async def _sample_inboxes(self) -> None:
        await self._inboxes.run()

    @Service.task
    async def _watch_loop(self) -> None:
        await watch_loop(self.metrics.loop_lag_seconds.observe, self._pause)

    @Service.task
    async def _give_back_memory(self) -> None:
        await give_back_memory(self._in_use)

    @Service.task
    async def _watch_unread(self) -> None:
        if self._server is not None:
            await self._server.watch_unread()

    def _in_use(self) -> int:
        """Return roughly how many bytes connections use."""
        server = self._server
        if server is None:
            return 0
        connections = len(server.connections) + len(server.unauthenticated)
        return self._admission.used + self._unsent.used + connections * CONNECTION_BYTES

    async def on_start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be bound or is public without authentication, or
                keys or certificates are unusable.
        """
        conf, settings = self.app.conf, self._settings
        settings.check_public(conf.web_bind)
        map_large_blocks()
        tls = settings.http_server_tls()
        if tls is not None and URL(str(conf.canonical_url)).scheme != "https":
            raise SettingsError(
                "with TLS, set STREAMS_HTTP_HOST and STREAMS_HTTP_PORT, or an https:// "
                "STREAMS_HTTP_ADVERTISED_URL, not --web-host and --web-port"
            )
        await self._authenticator.open()
        await self._proxy.open()
        self._streaming.open(connection_limit())
        self._server = server = Server(
            self._dispatcher.handle,
            connection_limit(),
            budget=self._admission,
            authenticates=self._authenticator.authenticates,
            # Cancel the handler when the client disconnects.
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            max_line_size=MAX_HEAD_LINE,
            max_field_size=MAX_HEAD_LINE,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
            access_log=None,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        try:
            self._listener = await listen(server, conf.web_bind, conf.web_port, tls)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SettingsError(taken(conf.web_port, conf.web_bind)) from error
            raise SettingsError(
                f"cannot listen on {conf.web_bind}:{conf.web_port}: {error.strerror or error}; "
                "choose another STREAMS_HTTP_HOST or STREAMS_HTTP_PORT"
            ) from error
        await self._amqp.open(conf.web_bind, connection_limit() // AMQP_SHARE, tls)
        logger.info("HTTP gateway listening on %s:%s", conf.web_bind, conf.web_port)
        if tls is None and not is_loopback(conf.web_bind):
            logger.warning(
                "listening on %s without TLS: tokens are sent in clear text unless a proxy in "
                "front of this worker terminates TLS",
                conf.web_bind,
            )

    async def on_stop(self) -> None:
        """End what waits, let other requests finish, and close."""
        self._long_polls.close()
        await self._amqp.close()
        await self._streaming.close()
        await self._history.close()
        await self._log_ends.close()
        # Before the server: requests that wait for another worker would delay its end.
        await self._proxy.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._authenticator.close()
