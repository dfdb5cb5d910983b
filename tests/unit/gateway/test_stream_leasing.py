"""Who asks for a queue's messages on behalf of competing consumers, told without Kafka."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.engine.testing import MemoryRows
from streams.errors import Unavailable
from streams.events.records import Configure
from streams.folds.delivery import StoredDelivery
from streams.folds.options import Queue
from streams.folds.row_keys import OPTIONS, inbox_bucket
from streams.gateway.reads.lease_results import LeaseResults
from streams.gateway.streaming import leasing as leasing_module
from streams.gateway.streaming.frames import Terms
from streams.gateway.streaming.leasing import MOST_AT_ONCE, Leasing
from streams.gateway.streaming.pages import Pages
from streams.gateway.streaming.subscription import StreamSubscription


class Place:
    """As much of a partition as leasing looks at."""

    number = 0
    ready = True

    def __init__(self) -> None:
        self.rows = MemoryRows()

    async def reached(self, offset: int, timeout: float) -> bool:
        await asyncio.sleep(0)
        return True


class World:
    """A queue whose Leases are folded as they are appended, and the clients who want it."""

    def __init__(self) -> None:
        self.place: Any = Place()
        self.jobs: list[int] = []
        self.limits: list[int] = []
        self.given_back: list[int] = []
        self.fails = 0
        self.pauses: list[float] = []
        self.owed = 0
        self.book = LeaseResults()
        self.leasing = Leasing(self.book, self.publish, lambda place: bool(place.ready))

    async def publish(self, record: Any) -> tuple[int, int]:
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise Unavailable("away")
        self.limits.append(record)
        offset = len(self.limits)
        got, self.jobs = self.jobs[:record], self.jobs[record:]
        self.book.note(0, {offset: got})
        return 0, offset

    def lease_pause(self) -> float:
        return self.pauses.pop() if self.pauses else 0.0

    def owe(self, events: int) -> None:
        self.owed += events

    def lease(self, subscription: StreamSubscription, limit: int) -> Any:
        return limit

    def leased(self, subscription: StreamSubscription, seqs: list[int]) -> None:
        for seq in seqs:
            subscription.sent(seq)
            subscription.held[seq] = None
        self.leasing.again(subscription)

    def give_back(self, subscription: StreamSubscription, seqs: list[int]) -> None:
        self.given_back += seqs

    def consumer(self, credit: int = 1) -> StreamSubscription:
        found = StreamSubscription(cast(Any, self), "q", 0, 0, credit, None, -1, Terms("me", None))
        found.local = self.place
        return found

    async def settle(self) -> None:
        for _ in range(200):
            await asyncio.sleep(0)


async def test_a_wake_up_counts_while_messages_wait_to_be_written() -> None:
    # Given a consumer that has got a message, which is not written yet
    subscription = World().consumer()
    subscription.taken.append(1)
    looked: list[StreamSubscription] = []
    leases: Any = SimpleNamespace(look=looked.append, again=looked.append)
    to_write = asyncio.Event()
    pages = Pages(
        leases, lambda place: True, looked.append, lambda count: None, to_write, forwarded=False
    )
    # When its queue has another, Then both are seen to
    pages.mark(subscription)
    assert looked == [subscription]
    assert bool(pages)
    assert to_write.is_set()


async def test_the_others_are_looked_at_when_who_asked_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given two consumers, and a Lease of the first that is under way
    monkeypatch.setattr(leasing_module, "PAUSE_SECONDS", 0.0)
    world = World()
    first, second = world.consumer(), world.consumer()
    for one in (first, second):
        world.leasing.look(one)
    await world.settle()
    world.jobs = [1]
    world.fails = 1
    for one in (first, second):
        world.leasing.look(one)
    # When the first goes, and its Lease fails
    first.open = False
    world.leasing.left(first)
    await world.settle()
    # Then the second gets the message, and no line is left when it goes, too
    assert list(second.held) == [1]
    second.open = False
    world.leasing.left(second)
    await world.settle()
    assert not world.leasing._lines


async def test_one_message_costs_few_leases_however_many_wait_for_it() -> None:
    world = World()
    consumers = [world.consumer() for _ in range(20)]
    for one in consumers:
        world.leasing.look(one)
    await world.settle()
    world.limits.clear()

    world.jobs.append(7)
    for one in consumers:
        world.leasing.look(one)
    await world.settle()

    assert [seq for one in consumers for seq in one.held] == [7]
    # The one that got it was full, so that two more look for others
    assert len(world.limits) == 3


async def test_many_messages_go_to_all_and_no_more_than_the_credit() -> None:
    world = World()
    world.jobs = list(range(1, 1001))
    consumers = [world.consumer(10) for _ in range(8)]
    for one in consumers:
        world.leasing.look(one)
    await world.settle()

    assert [len(one.held) for one in consumers] == [10] * 8
    assert len(world.jobs) == 920
    greedy = world.consumer(1_000_000)
    world.leasing.look(greedy)
    await world.settle()
    assert len(greedy.held) == 920
    assert max(world.limits) == MOST_AT_ONCE


async def test_credit_alone_asks_for_nothing_where_nothing_is() -> None:
    world = World()
    one, other = world.consumer(), world.consumer()
    for consumer in (one, other):
        world.leasing.look(consumer)
    await world.settle()
    world.limits.clear()

    world.leasing.again(one)
    await world.settle()

    assert world.limits == []


async def test_what_comes_too_late_for_a_client_is_given_back() -> None:
    world = World()
    world.jobs = [1, 2]
    gone = world.consumer(2)
    world.leasing.look(gone)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone.open = False
    world.leasing.left(gone)
    await world.settle()

    assert world.given_back == [1, 2]
    assert not gone.held


async def test_a_lease_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leasing_module, "PAUSE_SECONDS", 0.01)
    world = World()
    world.jobs, world.fails = [1], 2
    one = world.consumer()
    world.leasing.look(one)
    for _ in range(500):
        if one.held:
            return
        await asyncio.sleep(0.01)
    pytest.fail("it was not")


async def test_who_is_over_its_rate_leaves_the_line_to_the_others_for_a_while() -> None:
    # Given two consumers, the first of whose client is over its rate limit
    world = World()
    first, second = world.consumer(), world.consumer()
    world.jobs, world.pauses = [1], [0.05]
    # When both want a message
    world.leasing.look(first)
    world.leasing.look(second)
    await world.settle()
    # Then the second gets it, and the first has made no Lease
    assert (list(first.held), list(second.held)) == ([], [1])
    # And the first gets the next one, once its rate allows it
    world.jobs = [2]
    async with asyncio.timeout(120):
        while not first.held:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert list(first.held) == [2]


async def test_a_consumer_over_its_rate_makes_no_lease_however_often_it_is_woken() -> None:
    world = World()
    one = world.consumer()
    world.jobs, world.pauses = [1], [60.0] * 10
    for _ in range(20):
        world.leasing.look(one)
        world.leasing.again(one)
        await world.settle()
    assert (world.limits, len(world.pauses)) == ([], 9)
    one.open = False
    world.leasing.left(one)
    await world.settle()
    assert not world.leasing._lines


async def test_a_last_try_counts_whether_the_client_is_still_there_or_not() -> None:
    # Given a queue with one try for each message, and two messages
    world = World()
    world.place.rows.put(OPTIONS, b"q", Queue(Configure("q", max_tries=1)).pack())
    for seq in (1, 2):
        row = StoredDelivery(b"m", tries=1, leased=True).pack()
        world.place.rows.put(inbox_bucket("q"), seq.to_bytes(8, "big"), row)
    # When a consumer gets one, and another one is gone when its message comes
    for seq in (1, 2):
        world.jobs = [seq]
        consumer = world.consumer()
        world.leasing.look(consumer)
        await asyncio.sleep(0)
        consumer.open = seq == 1
        await world.settle()
    # Then each is charged for: it becomes a dead letter, by the end of its lease or by a nack
    assert world.given_back == [2]
    assert world.owed == 2
