"""Where subscriptions are served, told without a socket: partitions, owners and streams made up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import aiohttp
import pytest

from streams.errors import Unavailable
from streams.gateway.reads.readers import Readers
from streams.gateway.streaming import placement as placement_module
from streams.gateway.streaming.placement import Placement
from streams.gateway.streaming.subscription import StreamSubscription
from streams.gateway.streaming.watching import Watching
from streams.gateway.waiters import WAKE_AT_ONCE

HERE, THERE = "http://here", "http://there"


class Place:
    """As much of a partition as placement looks at."""

    def __init__(self, position: int = 10) -> None:
        self.position = position
        self.ready = True
        self.caught_up = asyncio.Event()

    async def reached(self, offset: int, timeout: float) -> bool:
        await self.caught_up.wait()
        return True


class Socket:
    """A WebSocket to another worker, whose frames the test writes and reads."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.frames: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.is_closed = False

    async def send_str(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> aiohttp.WSMessage:
        frame = await self.frames.get()
        if frame is None:
            raise StopAsyncIteration
        return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, json.dumps(frame), None)

    async def close(self) -> None:
        self.is_closed = True

    def say(self, kind: str, **fields: Any) -> None:
        self.frames.put_nowait({"type": kind, **fields})


class World:
    """A worker of a cluster and one client's connection: what placement sees of both."""

    def __init__(self) -> None:
        # As a worker
        self.watching = Watching(Readers())
        self.upstreams = 0
        self.own_url = HERE
        self.place: Place | None = None
        self.who: str | None = None
        self.written = -1
        # As a connection
        self.marked: list[StreamSubscription] = []
        self.relayed: list[tuple[str, int]] = []
        self.said: list[dict[str, Any]] = []
        self.given_up: list[StreamSubscription] = []
        self.sockets: dict[str, list[Socket]] = {}
        self.away: set[str] = set()

    def partition(self, number: int) -> Any:
        return self.place

    def answers(self, partition: Any) -> bool:
        return bool(partition.ready) and partition is self.place

    def owner(self, number: int) -> str | None:
        return self.who

    def unreadable(self, number: int) -> str:
        return f"partition {number} is moving"

    def is_self(self, owner: str) -> bool:
        return owner == HERE

    def confirmed(self, number: int) -> int:
        return self.written

    def may_open_upstream(self) -> bool:
        return True

    def mark(self, subscription: StreamSubscription) -> None:
        self.marked.append(subscription)

    async def relay(
        self, subscription: StreamSubscription, seq: int, text: str, again: bool
    ) -> None:
        if seq > subscription.last:
            subscription.sent(seq)
            self.relayed.append((subscription.queue, seq))

    def say(self, kind: str, **fields: Any) -> None:
        self.said.append({"type": kind, **fields})

    def give_up(self, subscription: StreamSubscription) -> None:
        self.given_up.append(subscription)

    def refused(self, subscription: StreamSubscription, message: str) -> None:
        subscription.open = False
        self.placement.remove(subscription)
        self.say("error", message=message)

    def deleted(self, subscription: StreamSubscription) -> None:
        subscription.open = False
        self.placement.remove(subscription)
        self.say("deleted", queue=subscription.queue)

    async def connect(self, url: str) -> Any:
        if url in self.away:
            raise Unavailable("away")
        socket = Socket()
        self.sockets.setdefault(url, []).append(socket)
        return socket

    def subscription(self, queue: str = "q", after: int = 0, credit: int | None = 5) -> Any:
        placement: Any = self.placement

        class Connection:
            def lost(self, subscription: StreamSubscription) -> None:
                placement.lost(subscription)

            mark = self.mark
            deleted = self.deleted

        return StreamSubscription(cast(Any, Connection()), queue, 0, after, credit, None, -1)

    placement: Placement


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(placement_module, "FIRST_PAUSE_SECONDS", 0.01)
    world = World()
    world.placement = Placement(cast(Any, world), world, forwarded=False)
    task = asyncio.create_task(world.placement.run())
    yield world
    task.cancel()
    world.placement.close()
    await asyncio.gather(task, return_exceptions=True)
    await settled()
    assert world.upstreams == 0
    assert all(socket.is_closed for sockets in world.sockets.values() for socket in sockets)


async def settled(until: Callable[[], object] = lambda: True) -> None:
    """Let everything that can go on do so, until a condition holds."""
    deadline = time.monotonic() + 120
    while not until():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_here_is_served_here_and_woken(world: World) -> None:
    world.place = Place()
    subscription = world.subscription()
    world.placement.place(subscription)
    assert world.marked == [subscription]
    world.watching.wake({b"q", b"other"})
    world.watching.wake({b"other"})
    world.watching.wake(None)
    assert world.marked == [subscription] * 3
    world.placement.remove(subscription)
    world.watching.wake(None)
    assert world.marked == [subscription] * 3
    assert not world.watching
    assert world.said == []


async def test_it_begins_when_the_fold_has_what_this_worker_wrote(world: World) -> None:
    world.place, world.written = Place(position=10), 10
    subscription = world.subscription()
    world.placement.place(subscription)
    await settled()
    assert world.marked == []
    world.place.caught_up.set()
    await settled()
    assert world.marked == [subscription]
    world.placement.remove(subscription)


async def test_what_is_elsewhere_is_relayed_from_its_owner(world: World) -> None:
    # Given a queue of another worker
    world.who, world.written = THERE, 7
    subscription = world.subscription(after=3)
    world.placement.place(subscription)
    await settled()
    (socket,) = world.sockets[THERE]
    assert socket.sent == [
        {"type": "subscribe", "ref": 1, "queue": "q", "after": 3, "credit": 5, "read_after": 7}
    ]

    # What comes before the owner's answer is of a subscription before this one
    socket.say("message", queue="q", seq=99)
    socket.say("subscribed", queue="q", ref=1)
    socket.say("message", queue="q", seq=4)
    socket.say("message", queue="q", seq=4)
    socket.say("message", queue="unknown", seq=5)
    await settled()
    assert world.relayed == [("q", 4)]

    # Credit goes to the owner, what is given at once in one frame
    world.placement.give_credit(subscription, 2)
    world.placement.give_credit(subscription, 3)
    await settled()
    assert socket.sent[1:] == [{"type": "credit", "queue": "q", "more": 5}]

    # And when nothing is left of it, the stream is closed
    world.placement.remove(subscription)
    await settled()
    assert socket.is_closed
    assert world.upstreams == 0


async def test_an_owner_that_is_away_is_not_asked_without_a_pause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a queue of another worker, which cannot be reached
    monkeypatch.setattr(placement_module, "TELL_SECONDS", 0.2)
    monkeypatch.setattr(placement_module, "LONGEST_PAUSE_SECONDS", 0.1)
    asked = 0
    told, back = asyncio.Event(), asyncio.Event()
    connect, say = world.connect, world.say

    async def count(url: str) -> Any:
        nonlocal asked
        asked += 1
        socket = await connect(url)
        back.set()
        return socket

    def hear(kind: str, **fields: Any) -> None:
        say(kind, **fields)
        told.set()

    monkeypatch.setattr(world, "connect", count)
    monkeypatch.setattr(world, "say", hear)
    world.who = THERE
    world.away.add(THERE)
    subscription = world.subscription()
    world.placement.place(subscription)
    # When it is asked again and again, until the client is told
    async with asyncio.timeout(60):
        await told.wait()
    # Then that was seldom, and goes on until it is back
    assert [frame["type"] for frame in world.said] == ["unavailable"]
    assert asked < 30
    world.away.clear()
    async with asyncio.timeout(60):
        await back.wait()
    world.placement.remove(subscription)


async def test_it_goes_on_after_the_last_seq_when_the_owner_is_lost(world: World) -> None:
    world.who = THERE
    subscription = world.subscription()
    world.placement.place(subscription)
    await settled()
    (first,) = world.sockets[THERE]
    first.say("subscribed", queue="q", ref=1)
    first.say("message", queue="q", seq=4)
    await settled()
    world.away.add(THERE)
    first.frames.put_nowait(None)
    await settled(until=lambda: first.is_closed)
    assert world.said == []

    # When it is back, at the same worker
    world.away.clear()
    await settled(until=lambda: world.sockets[THERE][1:] and world.sockets[THERE][-1].sent)
    second = world.sockets[THERE][-1]
    assert (second.sent[0]["after"], second.sent[0]["credit"]) == (4, 4)
    second.say("subscribed", queue="q", ref=1)
    await settled()
    assert world.said == []

    # or moves here, the client is told, and nothing else happens to it
    world.place = Place()
    world.who = HERE
    world.placement.reassigned()
    await settled(until=lambda: world.said)
    assert world.said == [{"type": "moved", "queue": "q", "owner": HERE}]
    assert subscription in world.marked
    assert second.is_closed
    second.say("message", queue="q", seq=50)
    await settled()
    assert world.relayed == [("q", 4)]
    world.placement.remove(subscription)


async def test_an_owner_that_serves_no_more_and_ends_is_asked_on_a_new_stream(
    world: World,
) -> None:
    world.who = THERE
    subscription = world.subscription()
    world.placement.place(subscription)
    await settled()
    (first,) = world.sockets[THERE]

    # When the owner refuses, and then closes the stream that nothing is left on
    world.who = None
    first.say("unavailable", queue="q", ref=1)
    await settled()
    first.frames.put_nowait(None)
    await settled()
    world.who = THERE

    # Then it is asked again on another one
    await settled(until=lambda: world.sockets[THERE][1:] and world.sockets[THERE][-1].sent)
    _, second = world.sockets[THERE]
    assert second.sent[0]["type"] == "subscribe"
    world.placement.remove(subscription)


async def test_a_client_is_told_when_nobody_serves_a_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement_module, "TELL_SECONDS", 0.05)
    subscription = world.subscription()
    world.placement.place(subscription)
    await settled(until=lambda: world.said)
    (said,) = world.said
    assert (said["type"], said["queue"]) == ("unavailable", "q")
    assert said["retry_after"] > 0
    world.place = Place()
    await settled(until=lambda: world.said[1:])
    assert world.said[1:] == [{"type": "moved", "queue": "q", "owner": HERE}]
    world.placement.remove(subscription)


async def test_a_lost_partition_is_left_until_it_answers_again(world: World) -> None:
    world.place = place = Place()
    subscription = world.subscription()
    world.placement.place(subscription)
    place.ready = False
    world.watching.lost(cast(Any, place))
    await settled(until=lambda: subscription.local is None)
    assert not world.watching
    place.ready = True
    await settled(until=lambda: subscription.local is not None)
    assert subscription.local is cast(Any, place)
    assert world.marked == [subscription, subscription]
    world.placement.remove(subscription)


async def test_another_workers_subscription_is_not_handed_on() -> None:
    world = World()
    world.placement = Placement(cast(Any, world), world, forwarded=True)
    world.who = THERE
    subscription = world.subscription()
    world.placement.place(subscription)
    assert world.given_up == [subscription]
    assert world.sockets == {}


async def test_a_crowd_is_woken_a_few_at_a_time(world: World) -> None:
    world.place = Place()
    crowd = [world.subscription() for _ in range(3 * WAKE_AT_ONCE)]
    for subscription in crowd:
        world.placement.place(subscription)
    world.marked.clear()
    world.watching.wake({b"q"})
    assert len(world.marked) == WAKE_AT_ONCE
    await settled()
    assert set(world.marked) == set(crowd)
    for subscription in crowd:
        world.placement.remove(subscription)


async def test_the_subscribers_of_a_deleted_queue_are_told_and_end(world: World) -> None:
    world.place, world.written = Place(position=20), 10
    subscription = world.subscription()
    world.placement.place(subscription)
    # A deletion that the client knew of when it subscribed is not the end of the subscription
    world.watching.deleted({b"q": 10, b"other": 30})
    assert subscription.open
    world.watching.deleted({b"q": 11})
    assert world.said == [{"type": "deleted", "queue": "q"}]
    assert not world.watching
    world.watching.deleted({b"q": 12})
    assert len(world.said) == 1


async def test_a_deletion_at_another_worker_is_told_and_its_stream_ends(world: World) -> None:
    world.who = THERE
    subscription = world.subscription()
    world.placement.place(subscription)
    await settled()
    (socket,) = world.sockets[THERE]
    socket.say("deleted", queue="q")  # of a subscription before this one
    socket.say("subscribed", queue="q", ref=1)
    await settled()
    assert subscription.open
    socket.say("deleted", queue="q")
    await settled()
    assert world.said == [{"type": "deleted", "queue": "q"}]
    assert not subscription.open
    assert world.upstreams == 0


async def test_a_wrong_field_is_refused_and_not_asked_for_again(world: World) -> None:
    world.who = THERE
    subscription = world.subscription()
    world.placement.place(subscription)
    await settled()
    (socket,) = world.sockets[THERE]
    socket.say("error", queue="q", ref=1, code="bad_field", message="after is a time")
    await settled(until=lambda: world.said)
    await asyncio.sleep(0.1)  # in which it would be asked again
    assert world.said == [{"type": "error", "message": "after is a time"}]
    assert not subscription.open
    assert len(world.sockets[THERE]) == 1


async def test_a_deletion_while_a_subscription_moves_here_is_told(world: World) -> None:
    # Given a subscription that another worker served and lost
    world.who = THERE
    subscription = world.subscription()
    world.placement.place(subscription)
    await settled()
    world.sockets[THERE][0].say("subscribed", queue="q", ref=1)
    await settled()
    world.who = None
    world.placement.reassigned()
    await settled()
    # When this worker takes over, and has folded the deletion before it serves the subscription
    world.watching.deleted({b"q": 3})
    world.place = Place(position=20)
    await settled(until=lambda: world.said)
    # Then the client is told; one that subscribes now is not
    assert [frame["type"] for frame in world.said] == ["deleted"]
    later = world.subscription()
    world.placement.place(later)
    assert later.open
    world.placement.remove(later)
