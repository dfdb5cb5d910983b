"""What the consumer thread knows of the group: whether partitions may have been elsewhere."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import NodeNotReadyError, RebalanceInProgressError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.engine.contact import Contact
from streams.engine.transport import ConsumerThread, CoordinatorSearch

MINE, MOVED = TP("group-events", 0), TP("group-events", 1)


class Coordinator:
    def __init__(self) -> None:
        self.alive = True
        self.commits: list[Any] = []

    async def _do_heartbeat(self) -> bool:
        return self.alive

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        self.commits.append(offsets)


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
async def thread(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> ConsumerThread:
    """A consumer thread around a coordinator that is none, before its first assignment."""

    async def nothing(self: Any, *arguments: Any) -> None:
        pass

    for name in ("on_start", "on_partitions_assigned", "on_partitions_revoked"):
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, name, nothing)
    made = object.__new__(ConsumerThread)
    consumer = SimpleNamespace(_coordinator=coordinator, pause=lambda *tps: None)
    monkeypatch.setattr(ConsumerThread, "_ensure_consumer", lambda self: consumer)
    made.consumer = SimpleNamespace(  # type: ignore[assignment]
        engine_partitions=lambda tps: set(tps), contact=Contact()
    )
    await made.on_start()
    return made


async def rebalance(thread: ConsumerThread, assigned: set[TP], generation: int) -> None:
    await thread.on_partitions_revoked(set(thread.assigned))
    await thread.on_partitions_assigned(assigned, generation)


async def test_no_offset_is_committed_while_the_group_rebalances(
    thread: ConsumerThread, coordinator: Coordinator
) -> None:
    await rebalance(thread, {MINE}, 1)
    await coordinator._do_commit_offsets(None, "first")

    # When the next rebalance has begun, a commit would arrive with a generation that is over
    await thread.on_partitions_revoked({MINE})
    with pytest.raises(RebalanceInProgressError):
        await coordinator._do_commit_offsets(None, "too late")

    # Then it is held back until the assignment is there
    await thread.on_partitions_assigned({MINE}, 2)
    await coordinator._do_commit_offsets(None, "second")
    assert coordinator.commits == ["first", "second"]


async def test_what_is_lost_is_known_at_once(thread: ConsumerThread) -> None:
    await rebalance(thread, {MINE, MOVED}, 1)
    await rebalance(thread, {MINE}, 2)
    assert thread.assigned == {MINE}


async def test_a_worker_that_missed_a_generation_knows_it(thread: ConsumerThread) -> None:
    # Given a worker whose engine has seen the first assignment
    await rebalance(thread, {MINE}, 1)
    thread.missed_generation = False

    # When the group went on without it, and it comes back to the same partition
    await rebalance(thread, {MINE}, 2)
    assert not thread.missed_generation
    await rebalance(thread, {MINE}, 4)

    # Then the partition may have been somebody else's
    assert thread.missed_generation


async def test_only_accepted_heartbeats_count(
    thread: ConsumerThread, coordinator: Coordinator
) -> None:
    assert await coordinator._do_heartbeat()
    last = thread.last_heartbeat
    assert last > float("-inf")

    coordinator.alive = False
    assert not await coordinator._do_heartbeat()
    assert thread.last_heartbeat == last


class Closed:
    """A client whose brokers are all away, and the coordinator that looks for one with it."""

    group_id = "streams"
    coordinator_id: int | None = None

    def __init__(self) -> None:
        self._client = self
        self._coordinator_lookup_lock = asyncio.Lock()
        self._closing = asyncio.get_running_loop().create_future()
        self.lookups = 0
        self.node: int | None = None

    async def coordinator_lookup(self, _kind: Any, _group: str) -> int:
        self.lookups += 1
        if self.node is None:
            raise NodeNotReadyError("no broker")
        return self.node

    async def force_metadata_update(self) -> None:
        pass

    async def ready(self, _node: int, group: Any) -> bool:
        return True


async def test_the_search_for_a_coordinator_pauses_ever_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def wait(futures: Any, timeout: float) -> None:
        pauses.append(timeout)
        if len(pauses) == 8:
            found.node = 1

    monkeypatch.setattr("streams.engine.transport.asyncio.wait", wait)
    found, contact = Closed(), Contact()
    search = CoordinatorSearch(found, contact)

    await search.run()
    assert found.coordinator_id == 1
    assert found.lookups == 9
    assert [pause > before for before, pause in pairwise(pauses[:4])] == [True] * 3
    assert max(pauses) <= 2.4

    # A coordinator that fails at once is not looked for at once
    found.coordinator_id = None
    await search.run()
    assert len(pauses) == 9

    # After an accepted heartbeat, the next search begins without a pause
    search.accepted()
    found.coordinator_id = None
    await search.run()
    assert len(pauses) == 9
