"""A Faust app with the engine in it.

`App` is Faust's own, with the transport, store and table manager of this package chosen,
and the `Engine` started before the consumer and stopped after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faust
from faust.app.base import BootStrategy as FaustBootStrategy
from faust.serializers.schemas import Schema as FaustSchema
from faust.types import ServiceT
from yarl import URL

from streams.engine.engine import Engine
from streams.engine.source import Chunk
from streams.errors import SettingsError
from streams.fold import FoldFactory
from streams.settings import Settings


class BootStrategy(FaustBootStrategy):
    """Faust's order of services, with the engine beside the producer."""

    def kafka_producer(self) -> Iterable[ServiceT]:
        """Producers: started before the consumer, stopped after it.

        The engine first: it waits for Kafka, which the others give up at once.
        """
        app: Any = self.app
        return [app.engine, *super().kafka_producer()]

    def web_server(self) -> Iterable[ServiceT]:
        """The HTTP gateway, in place of Faust's own web server."""
        app: Any = self.app
        if self._should_enable_web() and app.gateway is not None:
            return [app.gateway]
        return []


class ChunkSchema(FaustSchema[Any, Any]):
    """Passes chunks to the agents as they are: the folds decode."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """A chunk has no key."""
        return None

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        """The value is the list of `Chunk`s."""
        return message.value


class Table(faust.Table[bytes, bytes]):
    """A Faust table whose rows are written by a fold."""

    def fold(self, chunks: Iterable[Chunk]) -> None:
        """Fold chunks of the table's source topic; returns at once."""
        self.app.engine.accept(self.name, chunks)  # type: ignore[attr-defined]


class App(faust.App):
    """A Faust app whose tables are folded from chunks."""

    BootStrategy = BootStrategy

    gateway: Any = None
    """A service that is started as the worker's web server, if one is set."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.settings = settings
        super().__init__(
            settings.app_id,
            broker=[URL(f"streams://{broker}") for broker in settings.brokers.split(",")],
            broker_credentials=settings.faust_credentials(),
            # Static membership: a worker that restarts within the session timeout gets its
            # partitions back at once, without a rebalance that the others would notice.
            consumer_group_instance_id=settings.instance_id,
            broker_session_timeout=settings.session_timeout_seconds,
            broker_heartbeat_interval=min(1.0, settings.session_timeout_seconds / 3),
            broker_request_timeout=max(30.0, settings.session_timeout_seconds),
            store="memory://",
            datadir=str(settings.data),
            origin="streams",
            autodiscover=False,
            topic_partitions=settings.partitions,
            topic_replication_factor=settings.replication,
            topic_disable_leader=True,
            table_standby_replicas=settings.standbys,
            TableManager="streams.engine.recovery:TableManager",
            Table="streams.engine.application:Table",
            Worker="streams.engine.worker:Worker",
            web_host=settings.http_host,
            web_bind=settings.http_host,
            web_port=settings.http_port,
            canonical_url=settings.advertised_url,
            stream_wait_empty=True,
            **options,
        )
        self.engine = Engine(self, settings)

    def _create_directories(self) -> None:
        try:
            self.settings.data.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SettingsError(
                f"STREAMS_DATA: cannot make {self.settings.data}: {exc.strerror}"
            ) from exc
        super()._create_directories()

    def chunks(self, name: str) -> Any:
        """Return a source topic whose records reach their agent as lists of `Chunk`s."""
        return self.topic(
            name,
            schema=ChunkSchema(key_type=bytes, value_type=bytes),
            acks=False,
            internal=False,
            allow_empty=True,
        )

    def folded_table(self, name: str, source: str, fold: FoldFactory, help: str) -> Table:
        """Declare a table that `fold` makes of the records of the topic `source`."""
        self.engine.add_table(name, source, fold)
        table: Any = self.Table(
            name,
            store="streams://",
            key_type=bytes,
            value_type=bytes,
            partitions=self.settings.partitions,
            help=help,
        )
        return table  # type: ignore[no-any-return]
