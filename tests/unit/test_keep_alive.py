"""Queues with a TTL stay while they are read: Touches in front of Ticks, into a real fold."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from streams import keep_alive as module
from streams.engine.testing import MemoryRows
from streams.errors import Unavailable
from streams.events.codec import decode, encode
from streams.events.definitions import definitions
from streams.events.records import Configure, Tick, Touch
from streams.fold import Record
from streams.folds import views
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.notices import Notices
from streams.folds.timers import EXPIRY, Timer, Timers
from streams.keep_alive import GRACE_SECONDS, PER_TTL, KeepAlive


class World:
    """A worker that owns the only partition: its fold, its log and its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        """Seconds, of the worker and of the log."""
        self.rows = MemoryRows()
        notices = Notices(collect=True)
        logs = LogNumbers(1, 2)
        self.fold = Deliver(self.rows, 0, 1, "group-events", logs, notices=notices)
        self.partition: Any = SimpleNamespace(number=0, ready=True, fold=self.fold)
        self.offset = 0
        self.touched: list[str] = []
        self.away = False
        self.readers: set[bytes] = set()
        self.take_over()
        clock = SimpleNamespace(
            monotonic=lambda: self.now, time=lambda: self.now, time_ns=lambda: int(self.now * 1e9)
        )
        monkeypatch.setattr(module, "time", clock)

    def take_over(self) -> None:
        """Start as a new owner of the partition, which knows of no readers."""
        engine: Any = SimpleNamespace(
            partition=lambda table, number: self.partition, publisher=self
        )
        settings: Any = SimpleNamespace(queue_events="queue-events", partitions=1)
        self.keep_alive = KeepAlive(engine, settings, self.readers.__contains__)

    async def publish(self, topic: str, key: bytes, value: bytes, kind: str) -> tuple[int, int]:
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("Kafka is away")
        event = decode(value)
        assert isinstance(event, Touch)
        assert event.session == ""
        self.touched.append(event.queue)
        return 0, self.feed(event, key)

    def feed(self, event: Any, key: bytes) -> int:
        """Append an event to the log at the present time, and fold it."""
        record = Record(0, self.offset, int(self.now * 1000), key, encode(event))
        self.offset += 1
        for _ in self.fold.apply(record) or ():
            pass
        return record.offset

    def configure(self, queue: str, ttl_ms: int | None) -> None:
        self.feed(Configure(queue, ttl_ms=ttl_ms), queue.encode())
        for name in self.fold.notices.drain().configured:
            self.keep_alive.configured(name)

    def reader(self, queue: bytes) -> None:
        self.readers.add(queue)
        self.keep_alive.read(queue)

    def reader_ends(self, queue: bytes) -> None:
        self.readers.discard(queue)
        self.keep_alive.read(queue)

    async def run(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass, as the worker does: looks, and a Tick whenever one is due."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            self.keep_alive.opened(self.partition)
            self.keep_alive.look()
            due = self.fold.next_due
            if due is not None and due <= self.now * 1000:
                await self.keep_alive.before_tick(self.partition, self.fold)
                self.feed(Tick(int(self.now * 1000)), b"tick")
            for _ in range(3):
                await asyncio.sleep(0)

    def exists(self, queue: str) -> bool:
        return views.options(self.rows, queue) is not None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(monkeypatch)
    found.keep_alive.opened(found.partition)
    found.now += 2 * GRACE_SECONDS
    return found


async def test_a_queue_is_deleted_after_its_last_reader(world: World) -> None:
    # Given two queues with a TTL, of which one is read
    for queue in ("read", "unread"):
        world.configure(queue, 8000)
    world.reader(b"read")
    # When much time passes, only the other one is deleted, and its readers would be told
    await world.run(9)
    assert (world.exists("read"), world.exists("unread")) == (True, False)
    assert list(world.fold.notices.drain().deleted) == [b"unread"]
    await world.run(100)
    assert world.exists("read")
    # at the cost of a few records
    assert len(world.touched) <= PER_TTL * (109 / 8) + 2
    # When the reader leaves, the queue lives for its TTL, and not much longer
    world.reader_ends(b"read")
    await world.run(7.9)
    assert world.exists("read")
    await world.run(8 / PER_TTL + 0.3)
    assert not world.exists("read")
    # and nothing is remembered
    await world.run(30)
    assert world.keep_alive._reads == {}
    assert world.keep_alive._due == []


async def test_the_shortest_ttl_of_requests_costs_a_record_a_second(world: World) -> None:
    # Given queues with the shortest TTL that a client may set; each Touch is charged to nobody
    (field,) = (field for field in definitions()["Configure"].fields if field.name == "ttl_ms")
    shortest, _ = field.request_range
    world.configure("q", shortest)
    world.reader(b"q")
    # When it is read for a minute, then it costs a record a second, and stays
    await world.run(60)
    assert len(world.touched) <= 62
    assert world.exists("q")


async def test_queues_without_a_ttl_cost_nothing(world: World) -> None:
    world.reader(b"plain")
    await world.run(60)
    assert world.touched == []
    world.reader_ends(b"plain")
    await world.run(30)
    assert world.keep_alive._reads == {}


async def test_a_ttl_that_is_set_while_a_queue_is_read_counts_at_once(world: World) -> None:
    world.configure("q", None)
    world.reader(b"q")
    await world.run(1)
    world.configure("q", 500)
    await world.run(20)
    assert world.exists("q")


async def test_after_a_stall_readers_come_before_the_tick(world: World) -> None:
    world.configure("q", 1000)
    world.reader(b"q")
    await world.run(2)
    # The worker stands still for longer than the TTL
    world.now += 60
    await world.run(1)
    assert world.exists("q")


async def test_no_tick_before_kafka_knows_of_the_readers(world: World) -> None:
    world.configure("q", 1000)
    world.reader(b"q")
    await world.run(2)
    world.away = True
    with pytest.raises(Unavailable):
        await world.run(5)
    world.away = False
    world.now += 5
    await world.run(5)
    assert world.exists("q")


async def test_readers_may_come_back_to_a_new_owner(world: World) -> None:
    # Given many timers, and a queue whose TTL ended while no worker served it
    expired = Timers(world.rows)
    for number in range(2500):
        expired.set(Timer(int(world.now * 1000) + 500, EXPIRY, b"none", number.to_bytes(8, "big")))
    world.configure("q", 3000)
    world.now += 60
    # When another worker takes over, then the queue stays until its readers are back
    world.take_over()
    await world.run(GRACE_SECONDS - 1)
    assert world.exists("q")
    world.reader(b"q")
    await world.run(20)
    assert world.exists("q")
    # and one that does not come back loses it
    world.reader_ends(b"q")
    await world.run(5)
    assert not world.exists("q")
