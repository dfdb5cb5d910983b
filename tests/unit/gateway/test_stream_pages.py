"""Pages of deliveries: their bounds, and what is sent again between them."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.engine.testing import MemoryRows
from streams.events.codec import encode
from streams.events.records import Message
from streams.folds.delivery import StoredDelivery
from streams.folds.row_keys import inbox_bucket
from streams.gateway.reads import deliveries
from streams.gateway.streaming.frames import Terms
from streams.gateway.streaming.pages import PAGE_BYTES, PAGE_MESSAGES, PAGE_READS, Pages
from streams.gateway.streaming.subscription import MOST_AGAIN, StreamSubscription


class Leases:
    """Notes who asks for more messages."""

    def __init__(self) -> None:
        self.asked: list[StreamSubscription] = []

    def look(self, subscription: StreamSubscription) -> None:
        self.asked.append(subscription)

    def again(self, subscription: StreamSubscription) -> None:
        self.asked.append(subscription)


class World:
    """Queues of one partition, and one connection's pages of them."""

    def __init__(self, forwarded: bool = False) -> None:
        self.rows = MemoryRows()
        self.partition: Any = SimpleNamespace(rows=self.rows)
        self.readable = True
        self.lost: list[StreamSubscription] = []
        self.sent = 0
        self.leases = Leases()
        self.pages = Pages(
            self.leases,
            lambda partition: self.readable,
            self.lost.append,
            self._count,
            asyncio.Event(),
            forwarded=forwarded,
        )

    def _count(self, number: int) -> None:
        self.sent += number

    def deliver(self, queue: str, seqs: range, body: bytes = b"x") -> None:
        for seq in seqs:
            message = encode(Message(f"m{seq}", "g", "s", body=body))
            self.rows.put(inbox_bucket(queue), seq.to_bytes(8, "big"), message)

    def subscribe(self, queue: str, credit: int | None = None, **more: Any) -> StreamSubscription:
        subscription = StreamSubscription(
            cast(Any, self), queue, 0, 0, credit, None, -1, more.get("terms")
        )
        subscription.local = self.partition
        self.pages.mark(subscription)
        return subscription

    def page(self) -> list[dict[str, Any]]:
        """Return the frames of the next page."""
        frames: list[bytes] = []
        self.pages.fill(frames)
        assert sum(map(len, frames)) < 2 * PAGE_BYTES + 4096
        return [json.loads(frame) for frame in frames]

    def rest(self) -> list[list[dict[str, Any]]]:
        """Return all pages that are left."""
        found = []
        while self.pages:
            found.append(self.page())
        return found


def _seqs(pages: list[list[dict[str, Any]]], again: bool = False) -> list[int]:
    frames = [frame for page in pages for frame in page]
    return [frame["seq"] for frame in frames if frame.get("redelivered", False) is again]


@pytest.mark.parametrize("size", [1, 2000])
def test_a_backlog_is_sent_once_in_order_in_bounded_pages(size: int) -> None:
    world = World()
    world.deliver("q", range(1, 1501), b"x" * size)
    subscription = world.subscribe("q")

    pages = world.rest()

    assert _seqs(pages) == list(range(1, 1501))
    assert len(pages) > 1
    assert subscription.last == 1500
    assert world.sent == 1500


def test_queues_take_turns() -> None:
    world = World()
    for queue in "pq":
        world.deliver(queue, range(1, 200), b"x" * 1000)
        world.subscribe(queue)
    pages = world.rest()
    assert {frame["queue"] for frame in pages[0] + pages[1]} == {"p", "q"}


@pytest.mark.parametrize("size", [1, 3000])
def test_new_deliveries_follow_a_large_redelivery(size: int) -> None:
    # Given a subscription that was sent 1000 messages, which all came back since
    world = World()
    world.deliver("q", range(1, 1001), b"x" * size)
    subscription = world.subscribe("q")
    world.rest()
    for seq in range(1, 1001):
        subscription.came_back(seq)

    # When there are new ones, too
    world.deliver("q", range(1001, 1101), b"x" * size)
    world.pages.mark(subscription)
    pages = world.rest()

    # Then each is sent once, and no page holds more than its bounds
    assert _seqs(pages, again=True) == list(range(1, 1001))
    assert _seqs(pages) == list(range(1001, 1101))
    assert len(pages) > 1
    assert subscription.last == 1100
    assert not subscription.again


def test_redelivered_messages_that_are_gone_do_not_fill_a_page_with_work() -> None:
    # Given as many redeliveries as a subscription keeps, all acked in the meantime
    world = World()
    subscription = world.subscribe("q")
    subscription.last = 2 * MOST_AGAIN
    for seq in range(1, 2 * MOST_AGAIN):
        subscription.came_back(seq)
    assert len(subscription.again) == MOST_AGAIN
    world.rows.get = _counted(world.rows.get)  # type: ignore[method-assign]

    # When a page is made, Then it looks at some of them, and the next pages at the others
    world.pages.enqueue(subscription)
    assert world.page() == []
    assert 0 < world.rows.get.calls <= PAGE_READS + PAGE_MESSAGES  # type: ignore[attr-defined]
    pages = world.rest()
    assert len(pages) > MOST_AGAIN / (PAGE_READS + PAGE_MESSAGES) - 1
    assert not subscription.again


def test_many_queues_with_nothing_new_do_not_fill_a_page_with_work() -> None:
    world = World()
    for number in range(10 * PAGE_READS):
        world.subscribe(f"q{number}")
    world.rows.scan = _counted(world.rows.scan)  # type: ignore[method-assign]
    assert world.page() == []
    assert 0 < world.rows.scan.calls <= PAGE_READS  # type: ignore[attr-defined]
    assert len(world.rest()) == 9


def test_credit_ends_a_redelivery_and_what_follows() -> None:
    world = World()
    world.deliver("q", range(1, 11))
    subscription = world.subscribe("q", credit=12)
    world.rest()
    for seq in range(1, 6):
        subscription.came_back(seq)
    world.deliver("q", range(11, 21))
    world.pages.mark(subscription)
    assert _seqs(world.rest(), again=True) == [1, 2]
    assert subscription.credit == 0
    subscription.credit = 5
    world.pages.mark(subscription)
    pages = world.rest()
    assert (_seqs(pages, again=True), _seqs(pages)) == ([3, 4, 5], [11, 12])


@pytest.mark.parametrize("forwarded", [False, True])
def test_leased_deliveries_are_held_by_the_worker_of_the_client(forwarded: bool) -> None:
    # Given a consumer whose Lease got two messages, one of them gone since
    world = World(forwarded)
    world.deliver("q", range(2, 3))
    subscription = world.subscribe("q", credit=5, terms=Terms("me", None))
    subscription.taken.extend([1, 2])
    world.pages.enqueue(subscription)
    # When they are sent, Then what is there is held, and more is asked for
    assert _seqs(world.rest()) == [2]
    assert list(subscription.held) == ([] if forwarded else [2])
    assert subscription.credit == 4
    assert world.leases.asked[-1] is subscription


def test_a_partition_that_moved_is_not_read() -> None:
    world = World()
    world.deliver("q", range(1, 3))
    subscription = world.subscribe("q")
    world.readable = False
    assert world.page() == []
    assert world.lost == [subscription]


def _counted(function: Any) -> Any:
    def counted(*arguments: Any) -> Any:
        counted.calls += 1  # type: ignore[attr-defined]
        return function(*arguments)

    counted.calls = 0  # type: ignore[attr-defined]
    return counted


# Expired messages -----------------------------------------------------------------------------


def _expire(world: World, queue: str, seqs: range) -> None:
    row = StoredDelivery(encode(Message("m", "g", "s", body=b"x")), expires_at=1).pack()
    for seq in seqs:
        world.rows.put(inbox_bucket(queue), seq.to_bytes(8, "big"), row)


def test_a_page_skips_a_bounded_number_of_expired_messages() -> None:
    # Given many messages that have expired, before and after one that has not
    world = World()
    _expire(world, "q", range(1, 5001))
    world.deliver("q", range(5001, 5002))
    _expire(world, "q", range(5002, 7001))
    subscription = world.subscribe("q", credit=10)

    # When they are read, then each page reads a part of them
    pages = world.rest()
    assert _seqs(pages) == [5001]
    assert len(pages) >= 7000 // (2 * PAGE_READS)
    assert (subscription.last, subscription.credit) == (7000, 9)
    first = deliveries.page(world.rows, "q", 0, 64, PAGE_BYTES)
    assert (first.found, first.last, first.more) == ([], deliveries.PAGE_READS, True)
    # and what comes later is sent
    world.deliver("q", range(7001, 7002))
    world.pages.mark(subscription)
    assert _seqs(world.rest()) == [7001]
