"""What an open partition does with its records: outputs, dead letters, deferred work."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine.folding import MOST_WORK, Folder
from streams.engine.output import DeliveryTracker
from streams.engine.overlay import OverlayRows
from streams.engine.progress import PartitionSpec, Progress
from streams.engine.source import Chunk
from streams.errors import TooNew, Unavailable
from streams.fold import BadRecord, FoldRun, Output, Record, Rows


class WordFold:
    """Outputs each value, in ways that depend on its first letter."""

    def __init__(self, rows: Rows, partition: int) -> None:
        self.work: deque[Iterator[None]] = deque()
        self.may_wait = False
        self.ready: list[Output] = []
        self._packed: list[Output] = []

    def apply(self, record: Record) -> Iterator[None] | None:
        value = record.value or b""
        match value[:1]:
            case b"b":
                raise BadRecord("begins with b")
            case b"d":
                raise ValueError("a defect")
            case b"u":
                raise Unavailable("no rows")
            case b"n":
                raise TooNew("level 9 is unknown")
            case b"s":
                return self._steps(value)
            case b"w":
                self.work.append(self._steps(value))
            case _:
                self._packed.append(output(value))
        return None

    def flush(self) -> None:
        self.ready.extend(self._packed)
        self._packed.clear()

    def _steps(self, value: bytes) -> Iterator[None]:
        for number in range(3):
            self.ready.append(output(value + b"%d" % number))
            yield


def output(value: bytes) -> Output:
    return Output("out", 0, b"", value, "Word")


class QuickFold(WordFold):
    """Takes values that begin with `q` many at a time."""

    def begin_run(self, records: Sequence[Record]) -> FoldRun:
        return Run(self, records)


class Run:
    """Takes up to a hundred values that begin with `q`."""

    def __init__(self, fold: QuickFold, records: Sequence[Record]) -> None:
        self.fold = fold
        self.records = records

    def step(self, first: int) -> tuple[int, int]:
        values = [record.value or b"" for record in self.records]
        end = first
        while end < len(values) and end < first + 100 and values[end].startswith(b"q"):
            self.fold._packed.append(output(values[end]))
            end += 1
        others = end
        while others < len(values) and not values[others].startswith(b"q"):
            others += 1
        return end, others - end


class World:
    """What surrounds a folder, and what it made of that."""

    def __init__(self, fold: type[WordFold] = WordFold) -> None:
        self.sent: list[bytes] = []
        self.letters: list[tuple[int, str]] = []
        self.log_begins = 0
        self.loop = asyncio.get_running_loop()
        self.runtime = SimpleNamespace(outputs=SimpleNamespace(send=self._send))
        self.progress = Progress(position=0)
        context: Any = self
        rows: Any = None
        spec = PartitionSpec("words", 0, "in", "changelog", fold, Path())
        self.folder = Folder(context, spec, fold(OverlayRows(rows), 0), self.progress)

    async def _send(self, outputs: Sequence[Output], tracker: DeliveryTracker) -> None:
        tracker.sent += len(outputs)
        self.sent += [output.value for output in outputs]

    async def blocking(self, call: Callable[..., int], *args: object) -> int:
        return call(*args)

    def log_start(self, partition: tuple[str, int]) -> int:
        assert partition == ("in", 0)
        return self.log_begins

    async def dead_letter(
        self, topic: str, record: Record, reason: str, tracker: DeliveryTracker
    ) -> None:
        assert topic == "in"
        self.letters.append((record.offset, reason))

    async def fold(self, *values: bytes, begin: int = 0) -> None:
        """Fold a chunk of records that have these values."""
        records = [
            Record(0, offset, 1_000 + offset, b"k", value)
            for offset, value in enumerate(values, begin)
        ]
        end = begin + len(values)
        await self.folder.fold_chunk(Chunk("in", 0, begin, end, records, end, 1))


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.parametrize("begin", [0, 70, 333])
async def test_a_fold_that_takes_many_at_a_time_gets_each_record_once(begin: int) -> None:
    # Given runs of records that it takes, longer and shorter than a step, between others
    world = World(QuickFold)
    kinds = b"q" * 250 + b"x" + b"q" * 3 + b"x" * 150 + b"q" * 99 + b"x" + b"q"
    values = [b"%c%d" % (kind, number) for number, kind in enumerate(kinds)]
    world.progress.position = begin

    # When all are folded
    await world.fold(*values)

    # Then each is folded once, in order, from the position on
    assert world.sent == values[begin:]
    assert world.progress.folded == len(values) - begin
    assert world.progress.position == len(values)


async def test_a_chunk_moves_the_position_and_sends_its_outputs(world: World) -> None:
    await world.fold(b"one", b"two")
    assert world.sent == [b"one", b"two"]
    assert (world.progress.position, world.progress.folded, world.progress.chunks) == (2, 2, 1)
    assert world.progress.folded_to_ms == 1_001
    assert world.folder.take_tracker().sent == 2
    assert world.folder.tracker.sent == 0  # what follows belongs to the next checkpoint


async def test_records_that_are_folded_already_are_skipped(world: World) -> None:
    await world.fold(b"one", b"two")
    await world.fold(b"two", b"three", begin=1)
    assert world.sent == [b"one", b"two", b"three"]
    assert world.progress.folded == 3


async def test_a_record_is_refused_once(world: World) -> None:
    await world.fold(b"one", b"two")
    for offset in (1, 2, 2):
        await world.folder.refuse(Record(0, offset, 1_000, b"k", b"framed"), "unknown")
        assert world.progress.position == max(2, offset + 1)
    assert world.letters == [(2, "unknown")]
    # and what is folded again does not move the position back
    await world.fold(b"one", b"two")
    assert (world.sent, world.progress.position) == ([b"one", b"two"], 3)


async def test_what_cannot_be_folded_becomes_a_dead_letter(world: World) -> None:
    await world.fold(b"one", b"bad", b"defect", b"two")
    assert world.letters == [
        (1, "begins with b"),
        (2, "internal error: ValueError: a defect"),
    ]
    assert world.sent == [b"one", b"two"]
    assert world.progress.dead_letters == 2


async def test_rows_that_cannot_be_read_fail_the_partition(world: World) -> None:
    with pytest.raises(Unavailable):
        await world.fold(b"one", b"unavailable")
    # Then the position stays, and readers know that the rows are ahead of it
    assert world.progress.position == 0
    assert world.folder.folding


async def test_a_record_that_needs_a_newer_version_is_no_dead_letter(world: World) -> None:
    with pytest.raises(TooNew):
        await world.fold(b"one", b"newer")
    assert world.letters == []
    assert world.progress.position == 0


async def test_a_record_of_many_steps_is_finished_before_the_next(world: World) -> None:
    await world.fold(b"step", b"one")
    assert world.sent == [b"step0", b"step1", b"step2", b"one"]


async def test_deferred_work_waits_until_it_is_run(world: World) -> None:
    await world.fold(b"work", b"one")
    assert world.sent == [b"one"]
    await world.folder.finish_work()
    assert world.sent == [b"one", b"work0", b"work1", b"work2"]
    assert not world.folder.fold.work


async def test_too_much_deferred_work_is_done_before_folding_goes_on(world: World) -> None:
    # Given one record more with deferred work than may wait, behind one without
    values = [b"w%d-" % number for number in range(MOST_WORK + 1)]
    await world.fold(b"one", *values, b"two")
    # Then the earliest work was done, after what came before it and before what came after
    assert world.sent[:4] == [b"one", b"w0-0", b"w0-1", b"w0-2"]
    assert world.sent[-1] == b"two"
    assert len(world.folder.fold.work) <= MOST_WORK


async def test_offsets_that_are_gone_are_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a source whose first records were deleted: the chunk begins where it was expected
    records = [Record(0, 7, 1_007, b"k", b"one")]
    world.log_begins = 7
    await world.folder.fold_chunk(Chunk("in", 0, 0, 8, records, 8, 1))
    await world.folder.gaps.settled()
    assert "in/0: offsets 0 to 6 were deleted" in caplog.text
    assert world.progress.position == 8


async def test_the_end_of_a_transaction_is_not_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a log that has all its records, and the end of a transaction at offset 2
    await world.fold(b"a", b"b")
    records = [Record(0, 3, 1_003, b"k", b"c")]
    await world.folder.fold_chunk(Chunk("in", 0, 2, 4, records, 4, 1))
    await world.folder.gaps.settled()
    assert not caplog.records
