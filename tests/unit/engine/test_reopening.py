"""What a partition does when it cannot be opened: it drops everything, pauses, and tries again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine.partition import Partition
from streams.engine.progress import PartitionSpec, State
from streams.errors import TooNew, Unavailable

PATIENCE = 60.0


class World:
    """A worker whose partitions cannot be opened."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.app_id = "test"
        self.client = {"bootstrap.servers": "127.0.0.1:1"}  # nobody listens there
        self.core = None
        self.compute_lock = threading.Lock()
        self.next_epoch = count(1).__next__
        source = SimpleNamespace(unassign=lambda source: None, end=lambda source: None)
        self.runtime = SimpleNamespace(source=source, resources=None)
        self.member = True
        self.failure: Exception = Unavailable("the disk is full")
        self.attempts: list[float] = []
        self.lost: list[State] = []

    def high_watermark(self, partition: tuple[str, int]) -> int:
        return 0

    def hold(self, partition: tuple[str, int]) -> None:
        return None

    def lease_valid(self, source: tuple[str, int]) -> bool:
        return self.member

    async def restoring(self, call: Callable[[], Any]) -> Any:
        self.attempts.append(time.monotonic())
        raise self.failure

    async def blocking(self, call: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(call)

    def on_lost(self, partition: Partition) -> None:
        self.lost.append(partition.state)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def partition(world: World, tmp_path: Path) -> AsyncIterator[Partition]:
    context: Any = world
    factory: Any = None
    made = Partition(context, PartitionSpec("words", 0, "in", "changelog", factory, tmp_path / "p"))
    yield made
    await made.close(checkpoint=False)


async def test_a_failure_is_followed_by_a_pause_that_nothing_cuts_short(
    world: World, partition: Partition
) -> None:
    # Given a partition that fails
    partition.start()
    await world.until(lambda: partition.progress.failures > 0)
    # When the timer of checkpoints reminds it all the time
    while len(world.attempts) < 2:
        partition.remind(world.loop.time() + 1e9)
        await asyncio.sleep(0.01)
    # Then it is tried again only after a while
    assert world.attempts[1] - world.attempts[0] >= 0.4


async def test_between_two_attempts_it_holds_nothing(world: World, partition: Partition) -> None:
    partition.start()
    await world.until(lambda: bool(world.lost))
    assert world.lost[0] is State.FAILED
    assert not partition.ready
    assert partition.fold is None
    assert partition.sizes() == {}
    with pytest.raises(Unavailable, match="words/0 is"):
        partition.rows  # noqa: B018
    assert await partition.still_mine()


async def test_it_tells_that_only_a_newer_version_can_fold_it(
    world: World, partition: Partition
) -> None:
    world.failure = TooNew("level 2 is not known")
    partition.start()
    await world.until(lambda: partition.progress.failures > 0)
    assert partition.progress.needs == "level 2 is not known"
    assert "level 2 is not known" in (partition.progress.failure or "")
    # Another failure is told as such
    world.failure = Unavailable("the disk is full")
    failures = partition.progress.failures
    await world.until(lambda: partition.progress.failures > failures)
    assert partition.progress.failure == "the disk is full"
    assert partition.progress.needs is None


async def test_a_worker_that_may_have_lost_it_does_not_open_it(
    world: World, partition: Partition
) -> None:
    # Given a worker that does not know whether the group counts it still
    world.member = False
    partition.start()
    await asyncio.sleep(0.3)
    assert not world.attempts
    # When it does, Then it opens the partition
    world.member = True
    await world.until(lambda: bool(world.attempts))


async def test_it_can_be_closed_while_it_pauses(world: World, partition: Partition) -> None:
    partition.start()
    await world.until(lambda: partition.progress.failures > 0)
    await asyncio.wait_for(partition.close(checkpoint=True), PATIENCE)
    assert partition.state is State.CLOSED


async def test_pauses_grow_while_it_gets_no_further(
    world: World, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.engine.partition.FAILURE_PAUSES", (0.05, 10.0))

    partition.start()
    await world.until(lambda: len(world.attempts) >= 5)

    assert world.attempts[4] - world.attempts[3] >= 0.3  # 8 times the first, less jitter
