"""When an open partition is checkpointed, and what becomes of a checkpoint that fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine import checkpointing
from streams.engine.changelog import MARKER, ChangelogBroken, pack_marker
from streams.engine.checkpointing import QUIET_SECONDS, SOON_SECONDS, Checkpointer
from streams.engine.database import Database, Resources
from streams.engine.folding import MOST_WORK, Folder
from streams.engine.opening import WORK_SECONDS, Incarnation
from streams.engine.overlay import FrozenRows, OverlayRows
from streams.engine.progress import PartitionSpec, Progress

ROWS = 3
SECONDS = 60.0


class Writer:
    """A changelog of a list; fails when told to, and waits while it is held."""

    def __init__(self) -> None:
        self.appended: list[Sequence[tuple[bytes, bytes | None]]] = []
        self.broken = False
        self.free = threading.Event()
        self.free.set()

    def append(self, layer: FrozenRows, position: int) -> int:
        assert self.free.wait(60.0)
        if self.broken:
            raise ChangelogBroken("as the test wants it")
        self.appended.append([*layer.rows(), (MARKER, pack_marker(position))])
        return 10 * len(self.appended)


class World:
    """An incarnation of a partition whose clock the test sets."""

    def __init__(self, path: Path) -> None:
        self.now = 1_000.0
        running = asyncio.get_running_loop()
        self.loop = SimpleNamespace(
            time=lambda: self.now,
            create_task=running.create_task,
            call_soon_threadsafe=running.call_soon_threadsafe,
        )
        self.checkpoint_seconds, self.checkpoint_rows = SECONDS, ROWS
        self.checkpoint_bytes = 1 << 20
        self.compute_lock = threading.Lock()
        self.commits: list[int] = []
        self.woken = 0
        self.progress = Progress()
        self.writer = Writer()
        self.database = Database(path, Resources(8 << 20, 8 << 20))
        self.rows = OverlayRows(self.database)
        self.fold: Any = SimpleNamespace(work=[], ready=[])
        spec = PartitionSpec("words", 0, "in", "changelog", lambda rows, number: self.fold, path)
        context: Any = self
        writer: Any = self.writer
        self.folder = Folder(context, spec, self.fold, self.progress)
        self.checkpoints = Checkpointer(
            context,
            spec,
            self.progress,
            self.rows,
            self.database,
            writer,
            self.folder,
            self._wake,
        )
        self.incarnation = Incarnation(self.database, self.rows, self.folder, self.checkpoints)

    def _wake(self) -> None:
        self.woken += 1

    def change(self, rows: int = 1) -> None:
        """Fold a record that writes rows."""
        for number in range(rows):
            self.rows.put(b"b", b"%d" % number, b"v%d" % self.progress.position)
        self.progress.position += 1

    async def blocking(self, call: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(call)

    def topic_id(self, topic: str) -> bytes:
        return b"t" * 16

    def step(self, name: str, step: str) -> None:
        pass

    def committed(self, source: tuple[str, int], offset: int) -> None:
        self.commits.append(offset)

    def after_checkpoint(self, checkpoint: Any) -> None:
        pass


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    made = World(tmp_path / "p.db")
    yield made
    await made.checkpoints.stop()
    made.database.close()


async def test_the_first_is_due_at_a_time_of_the_partition_s_own(world: World) -> None:
    assert 0.5 * SECONDS <= -world.checkpoints.late <= SECONDS


async def test_a_few_changes_are_saved_when_nothing_follows_them(world: World) -> None:
    # Given a partition that changes a little, and again and again
    world.now += SECONDS
    assert not world.checkpoints.is_due(world.now)
    began = world.now
    # Then it is not saved,
    while world.now < began + SECONDS / 4:
        world.change()
        assert not world.checkpoints.is_due(world.now)
        world.now += QUIET_SECONDS / 2
    # until no more changes follow
    assert not world.checkpoints.is_due(world.now)
    assert world.checkpoints.is_due(world.now + QUIET_SECONDS)
    world.change()
    assert not world.checkpoints.is_due(world.now + QUIET_SECONDS)


async def test_changes_that_never_end_are_saved_after_the_longest_interval(world: World) -> None:
    began = world.now
    while not world.checkpoints.is_due(world.now):
        world.change()
        world.now += QUIET_SECONDS / 2
        assert world.now <= began + SECONDS + QUIET_SECONDS
    assert world.now >= began + SECONDS / 2


@pytest.mark.parametrize(
    ("name", "least", "records"),
    [("MUCH_ROWS", 2, 1), ("MUCH_ROWS", 5, 5), ("MUCH_BYTES", 10, 1)],
)
async def test_much_is_saved_soon(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, least: int, records: int
) -> None:
    # Given many changed rows, or many records, or large rows
    monkeypatch.setattr(checkpointing, name, least)
    for _ in range(records):
        world.change(ROWS - 1)
    # Then they are saved soon, but not at once
    assert not world.checkpoints.is_due(world.now)
    assert world.checkpoints.is_due(world.now + SOON_SECONDS)


async def test_nobody_is_woken_for_nothing(world: World) -> None:
    world.now = world.checkpoints.due + SECONDS
    assert not world.checkpoints.is_due(world.now)


async def test_an_idle_partition_is_not_late_with_what_comes_next(world: World) -> None:
    # Given a partition without records for long, and a record whose work is deferred
    world.now += 100 * SECONDS
    world.checkpoints.is_due(world.now)
    world.change()
    world.fold.work = [endless()]
    # Then this work does not come first
    assert not work_comes_first(world)
    assert not world.checkpoints.saving


async def test_nothing_is_saved_before_it_is_due(world: World) -> None:
    world.change()
    world.checkpoints.begin_if_due()
    assert not world.checkpoints.running
    assert not world.checkpoints.saving


async def test_what_was_folded_is_saved_when_it_is_due(world: World) -> None:
    # Given a changed row, when a checkpoint is due
    world.change()
    world.now = world.checkpoints.due
    assert world.checkpoints.is_due(world.now)
    world.checkpoints.begin_if_due()
    assert world.checkpoints.running
    await world.checkpoints.wait()

    # Then row and position are in the changelog and in the database, and are committed
    assert world.writer.appended == [[(b"b\x000", b"v0"), (MARKER, pack_marker(1))]]
    assert world.database.get(b"b\x000") == b"v0"
    assert world.database.next_offset == world.checkpoints.changelog_end == 10
    assert (world.progress.checkpointed, world.progress.checkpoints) == (1, 1)
    assert world.commits == [1]
    assert world.woken == 1
    # and the next is due an interval later
    assert world.checkpoints.due == world.now + SECONDS


async def test_nothing_new_is_not_saved(world: World) -> None:
    world.now = world.checkpoints.due + 1
    world.checkpoints.begin_if_due()
    assert not world.checkpoints.running


async def test_many_changed_rows_do_not_wait(world: World) -> None:
    world.change(ROWS)
    assert world.checkpoints.overfull
    world.checkpoints.begin_if_due()
    assert world.checkpoints.running
    await world.checkpoints.wait()


async def test_rows_without_the_outputs_of_deferred_work_are_not_saved(world: World) -> None:
    world.change(ROWS)
    world.fold.work = [iter(())]
    world.checkpoints.begin_if_due()
    assert not world.checkpoints.running


async def test_one_that_fails_is_told(world: World) -> None:
    world.writer.broken = True
    world.change(ROWS)
    world.checkpoints.begin_if_due()
    with pytest.raises(ChangelogBroken):
        await world.checkpoints.wait()
    assert (world.progress.failed_checkpoints, world.progress.checkpoints) == (1, 0)
    assert world.progress.checkpointed == 0
    assert not world.checkpoints.running


async def test_the_last_one_saves_what_was_folded_while_another_ran(world: World) -> None:
    # Given a checkpoint that is held up, and a record folded meanwhile
    world.writer.free.clear()
    world.change(ROWS)
    world.checkpoints.begin_if_due()
    world.change()
    # When the partition is closed with a checkpoint
    finished = asyncio.create_task(world.checkpoints.finish())
    await asyncio.sleep(0)
    world.writer.free.set()
    await finished
    # Then both are saved
    assert world.progress.checkpointed == 2
    assert world.database.get(b"b\x000") == b"v1"


async def test_outputs_of_a_partition_that_stops_are_not_sent_later(world: World) -> None:
    # Given a checkpoint that waits for an output, and outputs since then
    world.folder.tracker.held = 1
    world.change(ROWS)
    before = world.folder.tracker
    world.checkpoints.begin_if_due()
    # When the partition is closed
    await world.checkpoints.stop()
    # Then neither is sent
    assert before.dropped
    assert world.folder.tracker.dropped
    assert not world.writer.appended


def endless() -> Iterator[None]:
    while True:
        yield


def work_comes_first(world: World) -> bool:
    return world.incarnation.work_comes_first


async def test_deferred_work_comes_first_when_it_is_much_or_delays_a_checkpoint(
    world: World,
) -> None:
    assert not work_comes_first(world)
    # Given a little deferred work, Then it waits
    world.fold.work = [endless()]
    assert not work_comes_first(world)
    # but not when a checkpoint has waited for it for long
    world.now = world.checkpoints.due + WORK_SECONDS + 1
    assert work_comes_first(world)
    # nor when there is much of it
    world.now = world.checkpoints.due
    assert not work_comes_first(world)
    world.fold.work = [endless()] * (MOST_WORK + 1)
    assert work_comes_first(world)
    # nor when so many rows have changed that they must be saved
    world.fold.work = [endless()]
    world.change(ROWS)
    assert work_comes_first(world)
