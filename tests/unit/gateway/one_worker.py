"""A whole gateway on both folds in memory, with one partition of each table: no Kafka.

Publishing folds at once, on this event loop; real HTTP and AMQP over loopback.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable
from types import SimpleNamespace
from typing import Any

from streams.engine.testing import MemoryRows
from streams.errors import Unavailable
from streams.events.codec import encode
from streams.events.records import Tick
from streams.fold import BadRecord, Fold, Record
from streams.folds.counts import CountsByPartition
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.notices import Notices
from streams.folds.route import Route
from streams.folds.tables import MEMBERS, QUEUES
from streams.gateway.gateway import Gateway
from streams.gateway.reads.readers import Readers
from streams.ports import free_ports
from streams.settings import Settings


class Place:
    """A partition of a table, with its fold and its log."""

    number = 0
    ready = True
    folding = False
    stored: Any = None

    def __init__(self, table: str, fold: Fold, rows: MemoryRows) -> None:
        self.table = table
        self.fold = fold
        self.rows = rows
        self.position = 0

    async def reached(self, offset: int, timeout: float) -> bool:
        return self.position > offset


class World:
    """The engine of one worker, as the gateway sees it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.away = False
        """Whether Kafka confirms nothing."""
        self.slow = False
        """Whether what route sends waits until a mark comes behind it."""
        self._late: list[tuple[str, bytes, bytes]] = []
        self.sent: list[str] = []
        """Types of the records that clients have appended."""
        self.dead: list[str] = []
        """Why records became dead letters."""
        logs = LogNumbers((1 << 63) - 1, 77)
        self.notices = Notices(collect=True)
        self.notices.collect_delivered = True
        members, queues = MemoryRows(), MemoryRows()
        route = Route(members, 0, 1, settings.queue_events, logs)
        deliver = Deliver(queues, 0, 1, settings.group_events, logs, notices=self.notices)
        self.places = {
            settings.group_events: Place(MEMBERS, route, members),
            settings.queue_events: Place(QUEUES, deliver, queues),
        }
        self.deliver = deliver
        self.publisher = self
        self.gateway: Gateway

    # As an engine

    def publish(self, topic: str, key: bytes, value: bytes, kind: str) -> Awaitable[Any]:
        return self._publish(topic, key, value, kind)

    async def _publish(self, topic: str, key: bytes, value: bytes, kind: str) -> tuple[int, int]:
        if self.away:
            raise Unavailable("Kafka is away")
        self.sent.append(kind)
        return 0, self._append([(topic, key, value)])

    async def publish_many(self, events: list[tuple[str, bytes, bytes, str]]) -> Any:
        return [await self._publish(*event) for event in events]

    async def mark(self, topic: str, number: int, key: bytes, value: bytes, kind: str) -> int:
        late, self._late = self._late, []
        if late:
            self._append(late)
        return self._append([(topic, key, value)])

    def partition(self, table: str, number: int) -> Any:
        return next(place for place in self.places.values() if place.table == table)

    def open_partitions(self) -> Iterable[Any]:
        return ()

    def owner(self, table: str, number: int) -> str:
        return self.settings.advertised_url

    def unreadable(self, table: str, number: int) -> str:
        return "not ready"

    def pause(self, seconds: float) -> float:
        return seconds

    def topic_id(self, topic: str) -> bytes:
        return bytes(16)

    def status(self) -> dict[str, Any]:
        return {"failure": None, "not_ready": None, "partitions": []}

    def internals(self) -> dict[str, Any]:
        return {}

    def metrics(self) -> dict[str, Any]:
        return {}

    # Folding

    def tick(self) -> None:
        """Let timers fire that are due."""
        self._append([(self.settings.queue_events, b"tick", encode(Tick(_now())))])

    def _append(self, records: list[tuple[str, bytes, bytes]]) -> int:
        """Fold records and all that comes of them; return the offset of the first."""
        first, work = -1, list(records)
        while work:
            topic, key, value = work.pop(0)
            place = self.places[topic]
            offset = place.position
            first = offset if first < 0 else first
            try:
                for _ in place.fold.apply(Record(0, offset, _now(), key, value)) or ():
                    pass
            except BadRecord as error:
                self.dead.append(str(error))
            place.position += 1
            while place.fold.work:
                for _ in place.fold.work.popleft():
                    pass
            place.fold.flush()
            outputs = [(one.topic, one.key, one.value) for one in place.fold.ready]
            place.fold.ready.clear()
            late = self.slow and place.table == MEMBERS
            (self._late if late else work).extend(outputs)
        self._tell()
        return first

    def _tell(self) -> None:
        notices, gateway = self.notices.drain(), self.gateway
        place: Any = self.places[self.settings.queue_events]
        if notices.leased:
            gateway.on_leased(place, notices.leased)
        if notices.released:
            gateway.on_released(notices.released)
        if notices.deleted:
            gateway.on_deleted(notices.deleted)
        gateway.on_delivered(notices.delivered)


async def start(**variables: str) -> World:
    """Start a gateway with HTTP and AMQP on free ports; `stop` it in the end."""
    http, amqp = free_ports("127.0.0.1", 23100, 2)
    settings = Settings.from_env(
        {
            "STREAMS_PARTITIONS": "1",
            "STREAMS_HTTP_PORT": str(http),
            "STREAMS_AMQP_PORT": str(amqp),
            **variables,
        }
    )
    world = World(settings)
    conf = SimpleNamespace(
        web_bind="127.0.0.1", web_port=http, canonical_url=settings.advertised_url
    )
    app = SimpleNamespace(engine=world, settings=settings, conf=conf)
    world.gateway = Gateway(app, CountsByPartition(), Readers())
    await world.gateway.start()
    return world


async def stop(world: World) -> None:
    """Stop the gateway."""
    await world.gateway.stop()


def _now() -> int:
    return time.time_ns() // 1_000_000
