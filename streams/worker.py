"""The worker of the product: engine, folds, ticking and gateway put together by `build`.

Importing this module does nothing; `streams.app` builds the app that Faust's command line
runs.
"""

from __future__ import annotations

from typing import Any

from mode.utils.logging import level_name

from streams.engine.application import App as EngineApp
from streams.engine.options import EngineOptions
from streams.engine.partition import Partition
from streams.engine.worker import Worker as EngineWorker
from streams.fold import Fold, Rows
from streams.folds.counts import CountsByPartition
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.notices import Notices
from streams.folds.route import Route
from streams.folds.tables import MEMBERS, QUEUES
from streams.gateway.gateway import Gateway
from streams.gateway.reads.readers import Readers
from streams.keep_alive import KeepAlive
from streams.logs import logging_config
from streams.schema_registry.translating import RegistryTranslator, translator
from streams.settings import Settings
from streams.ticking import Ticking
from streams.topics import event_topics

_NOT_GIVEN = (None, "WARN")
"""Values of Faust's option --loglevel when it was not given."""


class App(EngineApp):
    """The product's app: an app on the engine that knows the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        super().__init__(
            engine_options(settings),
            origin="streams",
            Worker="streams.worker:Worker",
            web_host=settings.http_host,
            web_bind=settings.http_host,
            web_port=settings.http_port,
            canonical_url=settings.advertised_url,
        )


class Worker(EngineWorker):
    """A worker process that logs as the settings say."""

    def __init__(self, app: Any, *services: Any, **options: Any) -> None:
        settings: Settings = app.settings
        level = options.pop("loglevel", None)
        level = settings.log_level if level in _NOT_GIVEN else level_name(level).upper()
        config = logging_config(
            level, settings.log_format, str(app.conf.canonical_url), options.get("logfile")
        )
        super().__init__(app, *services, loglevel=level, logging_config=config, **options)

    def check(self) -> None:
        """Refuse to listen for other machines without authentication."""
        app: Any = self.app
        if app.conf.web_enabled:
            app.settings.check_public(app.conf.web_bind)


def engine_options(settings: Settings) -> EngineOptions:
    """Return the options of the engine that follow from the product's settings."""
    return EngineOptions(
        app_id=settings.app_id,
        brokers=settings.brokers,
        kafka=settings.kafka_security.librdkafka(),
        credentials=settings.faust_credentials(),
        instance_id=settings.instance_id,
        session_timeout_seconds=settings.session_timeout_seconds,
        data=settings.data,
        partitions=settings.partitions,
        replication=settings.replication,
        standbys=settings.standbys,
        topics=tuple(event_topics(settings)),
        dead_letters=settings.dead_letters,
        checkpoint_seconds=settings.checkpoint_seconds,
        checkpoint_rows=settings.checkpoint_rows,
        chunk_records=settings.chunk_records,
        chunk_bytes=settings.chunk_bytes,
        cache_bytes=settings.cache_bytes,
        write_buffer_bytes=settings.write_buffer_bytes,
        native=settings.native,
    )


def build(settings: Settings) -> App:
    """Put a worker together: two topics, two tables, two agents, and the gateway."""
    app = App(settings)
    counts = CountsByPartition()
    readers = Readers()
    keep_alive = KeepAlive(app.engine, settings, readers.is_read)
    readers.on_read = keep_alive.read
    registry = translator(settings.schema_registry_url)
    _add_members(app, counts, registry)
    _add_queues(app, counts, keep_alive)
    _add_gateway(app, counts, readers, keep_alive, registry)
    return app


def _log_numbers(app: App) -> LogNumbers:
    """Return the numbers of the event logs; the engine must have started."""
    settings = app.settings
    return LogNumbers.of_topics(
        app.engine.topic_id,
        settings.group_events,
        settings.queue_events,
        settings.unnumbered_until,
    )


def _add_members(
    app: App, counts: CountsByPartition, translator: RegistryTranslator | None
) -> None:
    settings = app.settings

    def fold(rows: Rows, partition: int) -> Fold:
        return Route(
            rows,
            partition,
            settings.partitions,
            settings.queue_events,
            _log_numbers(app),
            counts=counts.of(MEMBERS, partition),
            group_topic=settings.group_events,
        )

    members = app.folded_table(
        MEMBERS, settings.group_events, fold, "bindings of groups to queues", translator
    )

    @app.agent(app.chunks(settings.group_events), name="route")
    async def route(chunks: Any) -> None:
        """Fold binds, unbinds and messages into `members`, and tell the queues concerned."""
        async for together in chunks:
            members.fold(together)


def _add_queues(app: App, counts: CountsByPartition, keep_alive: KeepAlive) -> None:
    settings = app.settings

    def fold(rows: Rows, partition: int) -> Fold:
        return Deliver(
            rows,
            partition,
            settings.partitions,
            settings.group_events,
            _log_numbers(app),
            counts.of(QUEUES, partition),
            Notices(collect=True),
        )

    queues = app.folded_table(
        QUEUES, settings.queue_events, fold, "inboxes, bindings and sessions of queues"
    )

    @app.agent(app.chunks(settings.queue_events), name="deliver")
    async def deliver(chunks: Any) -> None:
        """Fold the events of queues into `queues`."""
        async for together in chunks:
            queues.fold(together)

    @app.task  # type: ignore[untyped-decorator]
    async def tick() -> None:
        """Append Ticks, and Touches of queues that are read, for the queues of this worker."""
        await Ticking(app.engine, settings, keep_alive).run()


def _add_gateway(
    app: App,
    counts: CountsByPartition,
    readers: Readers,
    keep_alive: KeepAlive,
    registry: RegistryTranslator | None,
) -> None:
    gateway = app.web_service = Gateway(app, counts, readers, registry)

    def folded(partition: Partition, fold: Fold) -> None:
        """Wake the readers that a chunk has something for."""
        gateway.on_chunk_end(partition)
        if isinstance(fold, Deliver):
            notices = fold.notices.drain()
            if notices.leased:
                gateway.on_leased(partition, notices.leased)
            if notices.released:
                gateway.on_released(notices.released)
            if notices.deleted:
                gateway.on_deleted(notices.deleted)
            for queue in notices.configured:
                keep_alive.configured(queue)
            if gateway.waiting:
                gateway.on_delivered(notices.delivered)
            fold.notices.collect_delivered = gateway.waiting

    app.engine.on_chunk_folded = folded
    app.engine.on_partition_lost = gateway.on_lost
    app.engine.on_checkpoint = gateway.on_checkpoint
