"""A partition with a database of its own and a changelog that fails or hangs when told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine import opening
from streams.engine.changelog import MARKER, ChangelogBroken, Stopped, pack_marker
from streams.engine.database import Resources
from streams.engine.overlay import FrozenRows
from streams.engine.partition import Partition
from streams.engine.progress import PartitionSpec, State
from streams.engine.source import Chunk
from streams.errors import Unavailable
from streams.fold import NotKnownYet, Record, Rows

LIMIT = 120.0


class Counter:
    """A fold that counts the records."""

    may_wait = False

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.work: list[Any] = []
        self.ready: list[Any] = []

    def apply(self, record: Record) -> None:
        before = int(self.rows.get(b"count", b"") or 0)
        self.rows.put(b"count", b"", b"%d" % (before + 1))

    def flush(self) -> None:
        pass


class Source:
    """Delivers the records from an offset whenever a partition is assigned."""

    def __init__(self, world: World, records: int) -> None:
        self.world, self.records = world, records

    def assign(self, source: tuple[str, int], offset: int, epoch: int) -> None:
        values = self.world.values
        records = [Record(0, n, 1_000 + n, b"k", values[n]) for n in range(offset, self.records)]
        chunk = Chunk("in", 0, offset, self.records, records, self.records, epoch)
        if records:
            self.world.loop.call_soon(self.world.partition.accept, chunk)

    def unassign(self, source: tuple[str, int]) -> None:
        pass

    def done(self, chunk: Chunk) -> None:
        pass

    def end(self, source: tuple[str, int]) -> int:
        return self.records


class Changelog:
    """The writer of a changelog; `fails` times it fails, and while it is not `free` it hangs."""

    def __init__(self, world: World, stopped: Callable[[], bool]) -> None:
        self.world, self.stopped = world, stopped

    def open(self) -> None:
        self.world.opened += 1

    def append(self, layer: FrozenRows, position: int) -> int:
        world = self.world
        world.writing.set()
        while not world.free.wait(0.01):
            if self.stopped():
                raise Stopped
        if world.fails:
            world.fails -= 1
            raise ChangelogBroken("as the test wants it")
        world.appended.append({**dict(layer.rows()), MARKER: pack_marker(position)})
        return 10 * len(world.appended)

    def close(self) -> None:
        assert self.world.may_close.wait(LIMIT)
        self.world.closed += 1


class World:
    """A worker with one partition."""

    checkpoint_seconds = 0.05
    checkpoint_rows = 1_000
    checkpoint_bytes = 1 << 20
    tombstone_ms = 1 << 40
    app_id = "test"

    def __init__(self, path: Path) -> None:
        self.loop = asyncio.get_running_loop()
        self.client: dict[str, Any] = {}
        self.core = None
        self.compute_lock = threading.Lock()
        self.next_epoch = count(1).__next__
        self.fails = self.opened = self.closed = 0
        self.free, self.may_close, self.writing = (threading.Event() for _ in range(3))
        self.free.set()
        self.may_close.set()
        self.appended: list[dict[bytes, bytes | None]] = []
        self.commits: list[int] = []
        self.values = [b"v", b"v", b"v"]
        self.away = False
        self.letters: list[tuple[int, str]] = []
        self.folded_before: list[int] = []
        self.runtime = SimpleNamespace(
            source=Source(self, 3), resources=Resources(8 << 20, 8 << 20)
        )
        context: Any = self
        factory: Any = lambda rows, number: Counter(rows)  # noqa: E731
        self.partition = Partition(
            context, PartitionSpec("words", 0, "in", "changelog", factory, path, self)
        )

    def high_watermark(self, partition: tuple[str, int]) -> int:
        return 0

    def hold(self, partition: tuple[str, int]) -> None:
        return None

    def lease_valid(self, source: tuple[str, int]) -> bool:
        return True

    def log_end(self, partition: tuple[str, int], committed: bool = True) -> int:
        return 3 if partition == ("in", 0) else 0

    def topic_id(self, topic: str) -> bytes:
        return b"t" * 16

    async def blocking(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(call, *args)

    restoring = blocking

    def committed(self, source: tuple[str, int], offset: int) -> None:
        self.commits.append(offset)

    async def dead_letter(self, topic: str, record: Record, reason: str, tracker: Any) -> None:
        self.letters.append((record.offset, reason))

    # As a translator

    def concerns(self, value: bytes | None) -> bool:
        return value is not None and value[:1] == b"\0"

    def translate(self, value: bytes) -> bytes:
        self.folded_before.append(self.partition.position)
        if self.away:
            raise Unavailable("the registry is away")
        if value == b"\0new":
            raise NotKnownYet("the id is unknown")
        return value[1:]

    def nothing(self, *args: Any) -> None:
        pass

    step = after_checkpoint = after_chunk = on_ready = on_lost = nothing

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait, and remind the partition of its checkpoints as the engine does."""
        async with asyncio.timeout(LIMIT):
            while not condition():
                self.partition.remind(self.loop.time())
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World(tmp_path / "words-0.db")

    def writer(*args: Any) -> Changelog:
        stopped: Callable[[], bool] = args[4]
        return Changelog(made, stopped)

    monkeypatch.setattr(opening, "ChangelogWriter", writer)
    yield made
    made.free.set()
    made.may_close.set()
    await made.partition.close(checkpoint=False)


async def test_a_checkpoint_that_fails_on_an_idle_partition_is_tried_again(world: World) -> None:
    # Given a partition that has folded everything there is, whose next checkpoint will fail
    world.fails = 2
    world.partition.start()
    # When nothing more is folded
    await world.until(lambda: world.partition.progress.failed_checkpoints == 2)
    # Then it is opened again, folds the records again, and saves them
    await world.until(lambda: world.commits)
    assert world.opened == 3
    assert world.partition.state is State.READY
    assert world.commits == [3]
    assert [rows[b"count\0"] for rows in world.appended] == [b"3"]


async def test_a_release_that_takes_long_is_not_cut_short(world: World) -> None:
    # Given a partition that is being released because its checkpoint has failed
    world.fails = 1
    world.may_close.clear()
    world.partition.start()
    await world.until(lambda: world.partition.progress.failures == 1)
    # When it is to be closed, and the release takes longer than that may take
    closing = asyncio.create_task(world.partition.close(checkpoint=True, timeout=0.01))
    done, _ = await asyncio.wait([closing], timeout=0.5)
    # Then closing waits for the release, which ends by itself
    assert not done
    assert world.closed == 0
    world.may_close.set()
    await asyncio.wait_for(closing, LIMIT)
    assert world.closed == 1
    assert world.partition.state is State.CLOSED


async def test_closing_that_is_cancelled_half_way_can_be_done_again(world: World) -> None:
    # Given a partition whose checkpoint hangs, since Kafka is away
    world.free.clear()
    world.partition.start()
    await world.until(world.writing.is_set)
    # When closing it is cancelled half way
    first = asyncio.create_task(world.partition.close(checkpoint=True, timeout=LIMIT))
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert world.closed == 0
    # Then it can be closed again, which ends the checkpoint and releases everything once
    await asyncio.wait_for(world.partition.close(checkpoint=True, timeout=0.01), LIMIT)
    assert world.partition.state is State.CLOSED
    assert (world.opened, world.closed) == (1, 1)
    assert world.appended == []
    # And its database is free for the next one
    world.free.set()
    world.partition = Partition(world.partition._context, world.partition.spec)
    world.partition.start()
    await world.until(lambda: world.commits == [3])


def waits(world: World) -> str | None:
    return world.partition.progress.waits


async def test_nothing_is_folded_after_an_unknown_id_before_that_is_saved(world: World) -> None:
    # Given a record between others that cannot be read yet
    world.values[1] = b"\0new"
    world.partition.start()
    await world.until(lambda: world.commits[-1:] == [3])
    # Then a checkpoint right after it has only what was before it
    assert world.commits[0] == 2
    assert world.appended[0][b"count\0"] == b"1"
    assert world.appended[-1][b"count\0"] == b"2"
    assert world.letters == [(1, "the id is unknown")]


async def test_a_partition_waits_while_records_cannot_be_translated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.engine.translation.PAUSES", (0.05, 0.1))
    world.away = True
    world.values[2] = b"\0v"
    world.partition.start()
    await world.until(lambda: len(world.folded_before) >= 3)
    assert waits(world) == "the registry is away"
    assert world.partition.position == 0
    assert world.partition.progress.failures == 0
    # When the other system is back
    world.away = False
    await world.until(lambda: world.commits == [3])
    assert waits(world) is None
    assert world.appended[-1][b"count\0"] == b"3"
    assert world.letters == []


async def test_a_partition_that_waits_can_be_closed_at_once(world: World) -> None:
    world.away = True
    world.values[0] = b"\0v"
    world.partition.start()
    await world.until(lambda: world.partition.progress.waits)
    await asyncio.wait_for(world.partition.close(checkpoint=True, timeout=LIMIT), LIMIT)
    assert world.partition.state is State.CLOSED
    assert world.closed == 1
