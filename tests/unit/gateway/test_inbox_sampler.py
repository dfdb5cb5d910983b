"""How deep and old inboxes are, by a walk in slices and by what is counted meanwhile."""

from __future__ import annotations

from typing import Any, cast

import pytest

from streams.events.codec import encode
from streams.events.records import Message
from streams.folds.counts import Counts, CountsByPartition
from streams.folds.tables import QUEUES
from streams.gateway.metrics import inbox_sampler
from streams.gateway.metrics.inbox_sampler import InboxSampler, Sample
from streams.gateway.ports import Partition


class Stored:
    """A database in memory."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {b"bada\0tavern": b"", b"sada\0": b"s"}
        self.barrier = b"z"
        """Too many deleted rows begin here."""

    def walk(
        self, start: bytes, end: bytes, limit: int, most_deleted: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        assert most_deleted
        end = min(end, self.barrier)
        rows = sorted(row for row in self.rows.items() if start <= row[0] < end)
        return rows[:limit], len(rows) < limit and end == self.barrier

    def put(self, queue: str, seq: int, at: int) -> None:
        message = Message(id=str(seq), group="g", sender="s", body=b"x", at=at)
        self.rows[b"i" + queue.encode() + b"\0" + seq.to_bytes(8, "big")] = encode(message)


class OpenPartition:
    """A partition that is ready."""

    table = QUEUES
    number = 3
    ready = True

    def __init__(self) -> None:
        self.stored = Stored()


@pytest.fixture
def partition() -> OpenPartition:
    return OpenPartition()


@pytest.fixture
def counts() -> CountsByPartition:
    return CountsByPartition()


@pytest.fixture
def mine(counts: CountsByPartition) -> Counts:
    return counts.of(QUEUES, OpenPartition.number)


@pytest.fixture
def sampling(
    partition: OpenPartition, counts: CountsByPartition, monkeypatch: pytest.MonkeyPatch
) -> InboxSampler:
    monkeypatch.setattr(inbox_sampler, "REST_SECONDS", 0.0)
    return InboxSampler(lambda: [cast(Partition, partition)], counts)


def test_a_pass_counts_the_inbox_rows(partition: OpenPartition, sampling: InboxSampler) -> None:
    # Given two queues with messages, one of them with the oldest, though it comes second
    partition.stored.put("ada", 20, 2000)
    partition.stored.put("ada", 30, 3000)
    partition.stored.put("bob", 10, 1000)

    # When nothing was looked at yet, nothing is said; then all of it
    assert sampling.read() == []
    sampling.step()
    assert sampling.read() == [Sample(3, depth=3, oldest_at=1000, inboxes=2)]


def test_changes_after_a_pass_are_counted(
    partition: OpenPartition, sampling: InboxSampler, mine: Counts
) -> None:
    mine.delivered = 1
    partition.stored.put("ada", 20, 2000)
    sampling.step()

    mine.delivered += 5
    mine.removed += 2

    assert sampling.read() == [Sample(3, depth=4, oldest_at=2000, inboxes=1)]


def test_changes_between_two_passes_are_counted_once(
    partition: OpenPartition, sampling: InboxSampler, mine: Counts
) -> None:
    # Given a walk around an empty partition
    sampling.step()

    # When messages come, and it is walked around again
    for seq in range(1, 6):
        partition.stored.put("ada", seq, 1000 + seq)
        mine.delivered += 1
    sampling.step()

    assert sampling.read() == [Sample(3, depth=5, oldest_at=1001, inboxes=1)]


def test_a_long_pass_runs_in_slices(
    partition: OpenPartition, sampling: InboxSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more rows than fit in a slice of no time at all
    monkeypatch.setattr(inbox_sampler, "SLICE_SECONDS", -1.0)
    for seq in range(1, 201):
        partition.stored.put(f"q{seq % 7}", seq, seq)

    # When it is walked around, then in as many slices as there are looks at the clock
    slices = 0
    while not sampling.read():
        sampling.step()
        slices += 1
    assert slices == 200 // inbox_sampler.CHECK_ROWS + 1
    assert sampling.read() == [Sample(3, depth=200, oldest_at=1, inboxes=7)]


def test_a_pass_ends_at_a_long_run_of_deleted_rows(
    partition: OpenPartition,
    sampling: InboxSampler,
    mine: Counts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox_sampler, "LONG_REST_SECONDS", 0.0)
    # Given three messages, one of them behind a barrier
    for queue in ("ada", "bob", "eve"):
        partition.stored.put(queue, 1, 1000)
    partition.stored.barrier = b"ic"

    # When nothing better is known, then what was seen stands for the whole
    sampling.step()
    assert sampling.read() == [Sample(3, depth=2, oldest_at=1000, inboxes=2)]

    # But a whole walk is better, and what is counted from there on
    partition.stored.barrier = b"z"
    sampling.step()
    partition.stored.barrier = b"ic"
    mine.delivered += 4
    sampling.step()
    assert sampling.read() == [Sample(3, depth=7, oldest_at=1000, inboxes=3)]


def test_a_lost_partition_is_dropped(partition: OpenPartition, sampling: InboxSampler) -> None:
    sampling.step()
    cast(Any, partition).ready = False
    sampling.step()
    assert sampling.read() == []


def test_empty_inboxes_have_no_age(
    partition: OpenPartition, sampling: InboxSampler, mine: Counts
) -> None:
    mine.delivered = 1
    partition.stored.put("ada", 1, 1000)
    sampling.step()
    mine.removed = 1
    assert sampling.read() == [Sample(3, depth=0, oldest_at=None, inboxes=1)]
