"""Which chunks a partition takes, and when its source is read again."""

from __future__ import annotations

from itertools import count

import pytest

from streams.engine.chunk_queue import ChunkQueue
from streams.engine.source import Chunk, Source

SOURCE = ("events", 3)


class Reader:
    """Records what the queue asks of the source reader."""

    def __init__(self) -> None:
        self.assigned: list[tuple[int, int]] = []
        self.dropped: list[Chunk] = []
        self.reading = False

    def assign(self, source: Source, offset: int, epoch: int) -> None:
        assert source == SOURCE
        self.reading = True
        self.assigned.append((offset, epoch))

    def unassign(self, source: Source) -> None:
        assert source == SOURCE
        self.reading = False

    def done(self, chunk: Chunk) -> None:
        self.dropped.append(chunk)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def queue(reader: Reader) -> ChunkQueue:
    queue = ChunkQueue(SOURCE, reader, count(1).__next__)
    queue.begin(10)
    return queue


def chunk(begin: int, end: int, epoch: int = 1) -> Chunk:
    return Chunk(*SOURCE, begin, end, [], 100, epoch)


def test_chunks_that_continue_each_other_are_taken_in_order(
    queue: ChunkQueue, reader: Reader
) -> None:
    first, second = chunk(10, 15), chunk(15, 20)
    assert queue.accept(first)
    assert queue.accept(second)
    assert [queue.take(), queue.take()] == [first, second]
    assert not queue
    assert reader.assigned == [(10, 1)]
    assert not reader.dropped


def test_after_a_gap_the_source_is_read_again_from_the_last_accepted_chunk(
    queue: ChunkQueue, reader: Reader
) -> None:
    # Given a chunk that waits
    waiting = chunk(10, 15)
    queue.accept(waiting)
    # When one arrives that does not continue it
    late = chunk(16, 20)
    assert not queue.accept(late)
    # Then it is dropped, and reading goes on behind the one that waits
    assert reader.dropped == [late]
    assert reader.assigned[1:] == [(15, 2)]
    # and the one that waits is folded, but no longer counted against the new assignment
    assert queue.take() is waiting
    assert waiting.epoch not in {1, 2}


def test_chunks_of_an_earlier_assignment_are_dropped(queue: ChunkQueue, reader: Reader) -> None:
    queue.reread()
    old = chunk(10, 15, epoch=1)
    assert not queue.accept(old)
    assert reader.dropped == [old]
    assert queue.accept(chunk(10, 15, epoch=2))


def test_a_stopped_queue_holds_nothing_and_takes_nothing(queue: ChunkQueue, reader: Reader) -> None:
    waiting, later = chunk(10, 15), chunk(15, 20)
    queue.accept(waiting)
    queue.stop()
    assert not queue
    assert not reader.reading
    assert not queue.accept(later)
    assert reader.dropped == [waiting, later]
