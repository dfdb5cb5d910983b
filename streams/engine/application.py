"""A Faust app with the engine in it.

`App` is Faust's own app with the transport, store and table manager of this package. It
starts the `Engine` before the consumer and stops it after.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faust
from faust.app.base import BootStrategy as FaustBootStrategy
from faust.types import ServiceT
from yarl import URL

from streams.engine.chunk_topic import ChunkStream, ChunkTopic
from streams.engine.engine import Engine
from streams.engine.options import EngineOptions
from streams.engine.source import Chunk
from streams.engine.translation import Translator
from streams.errors import SettingsError
from streams.fold import FoldFactory


class BootStrategy(FaustBootStrategy):
    """Faust's order of services, with the engine beside the producer."""

    def kafka_producer(self) -> Iterable[ServiceT]:
        """Producers: started before the consumer, stopped after it.

        The engine comes first because it waits for Kafka; Faust's own services do not.
        """
        app: Any = self.app
        return [app.engine, *super().kafka_producer()]

    def web_server(self) -> Iterable[ServiceT]:
        """The app's web service, if it has one; never Faust's own web server."""
        app: Any = self.app
        if self._should_enable_web() and app.web_service is not None:
            return [app.web_service]
        return []


class Table(faust.Table[bytes, bytes]):
    """A Faust table whose rows are written by a fold alone.

    In an agent, ``table[key]`` reads the partitions of this worker; a key is
    ``bucket + b"\\0" + suffix``.
    """

    def fold(self, chunks: Iterable[Chunk]) -> None:
        """Queue chunks of the table's source topic to be folded, and return at once."""
        self.app.engine.accept(self.name, chunks)  # type: ignore[attr-defined]


class App(faust.App):
    """A Faust app whose tables are folded from chunks of records.

    Declare a source with `chunks`, a table with `folded_table`, and an agent that gives the
    chunks to the table; then start workers with Faust's command line.

    Args:
        options: see `EngineOptions`.
        faust_options: settings of Faust, such as `web_port`; they win over the engine's.
    """

    BootStrategy = BootStrategy

    web_service: Any = None
    """A service to start as the worker's web server."""

    def __init__(self, options: EngineOptions, **faust_options: Any) -> None:
        timeout = options.session_timeout_seconds
        defaults: dict[str, Any] = {
            "broker": [URL(f"streams://{broker}") for broker in options.brokers.split(",")],
            "broker_credentials": options.credentials,
            # Static membership: a worker that restarts within the session timeout gets its
            # partitions back at once, without a rebalance.
            "consumer_group_instance_id": options.member_id,
            "broker_session_timeout": timeout,
            "broker_heartbeat_interval": min(1.0, timeout / 3),
            "broker_request_timeout": max(30.0, timeout),
            "store": "memory://",
            "datadir": str(options.data),
            "autodiscover": False,
            "topic_partitions": options.partitions,
            "topic_replication_factor": options.replication,
            "topic_disable_leader": True,
            "table_standby_replicas": options.standbys,
            "TableManager": "streams.engine.recovery:TableManager",
            "Table": "streams.engine.application:Table",
            "Worker": "streams.engine.worker:Worker",
            "stream_wait_empty": True,
        }
        super().__init__(options.app_id, **{**defaults, **faust_options})
        self.engine = Engine(self, options)

    async def on_start(self) -> None:
        """Start the web service before the engine, which waits for Kafka.

        It still stops before the engine: services stop in the reverse order of their list.
        """
        await super().on_start()
        if self.web_service is not None and self.web_service in self._children:
            await self.web_service.maybe_start()

    def _create_directories(self) -> None:
        data = self.engine.options.data
        try:
            data.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SettingsError(f"cannot create the data folder {data}: {exc.strerror}") from exc
        super()._create_directories()

    def chunks(self, name: str) -> Any:
        """Return a source topic whose records reach their agent as lists of `Chunk`s."""
        return ChunkTopic(
            self,
            topics=[name],
            key_type=bytes,
            value_type=bytes,
            acks=False,
            internal=False,
            allow_empty=True,
        )

    def stream(self, channel: Any, beacon: Any = None, **options: Any) -> Any:
        """Create a stream, as in Faust; that of a topic of chunks is a `ChunkStream`."""
        if isinstance(channel, ChunkTopic):
            beacon = beacon or self.beacon
            return ChunkStream(app=self, channel=aiter(channel), beacon=beacon, **options)
        return super().stream(channel, beacon, **options)

    def folded_table(
        self,
        name: str,
        source: str,
        fold: FoldFactory,
        help: str = "",
        translator: Translator | None = None,
    ) -> Table:
        """Declare a table that `fold` makes of the records of the topic `source`.

        The engine creates both topics if they are missing: `source`, and the changelog
        ``<app_id>-<name>-changelog``.

        Args:
            name: name of the table, unique in the app.
            source: topic that the table is folded from.
            fold: makes the fold of one partition from its rows and its number.
            help: description for `faust tables`.
            translator: reads records of the source that the fold cannot read as they are.
        """
        self.engine.add_table(name, source, fold, translator)
        table: Any = self.Table(
            name,
            store="streams://",
            key_type=bytes,
            value_type=bytes,
            partitions=self.engine.options.partitions,
            help=help,
        )
        return table  # type: ignore[no-any-return]
