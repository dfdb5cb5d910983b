"""How deep and old inboxes are, by a walk in slices and by what is counted meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from streams.engine.database import Database, Resources
from streams.events.codec import encode
from streams.events.records import Message
from streams.folds import views
from streams.folds.counts import Counts, CountsByPartition
from streams.folds.tables import QUEUES
from streams.gateway.metrics import inbox_sampler
from streams.gateway.metrics.inbox_sampler import InboxSampler, Sample, between
from streams.gateway.ports import Partition


class Stored:
    """A database in memory."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {b"bada\0tavern": b"", b"sada\0": b"s"}
        self.deleted: list[bytes] = []
        """Keys of deleted rows that are not compacted away yet."""

    def walk(
        self, start: bytes, end: bytes, limit: int, most_deleted: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        found: list[tuple[bytes, bytes]] = []
        skipped = 0
        for key in sorted([*self.rows, *self.deleted]):
            if not start <= key < end:
                continue
            if key in self.rows:
                found.append((key, self.rows[key]))
                skipped = 0
            else:
                skipped += 1
            if skipped > most_deleted:
                return found, True
            if len(found) == limit:
                break
        return found, False

    def compact_deleted(self) -> None:
        self.deleted.clear()

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


@pytest.mark.parametrize("slice_seconds", [60.0, -1.0])
def test_a_pass_gets_past_long_runs_of_deleted_rows(
    partition: OpenPartition,
    sampling: InboxSampler,
    monkeypatch: pytest.MonkeyPatch,
    slice_seconds: float,
) -> None:
    # Given messages before, between and after long runs of deleted rows
    monkeypatch.setattr(inbox_sampler, "MAX_DELETED", 10)
    monkeypatch.setattr(inbox_sampler, "SLICE_SECONDS", slice_seconds)
    for queue, seq in (("ada", 1), ("tenant-1/user-0500", 7), ("zoe", 9)):
        partition.stored.put(queue, seq, 1000 * seq)
    partition.stored.deleted = [
        b"itenant-1/user-%04d\0%s" % (number, seq.to_bytes(8, "big"))
        for number in range(1000)
        for seq in (1, 2)
    ]

    # When slices are taken, however short, then a pass comes to its end and has seen all
    crowded: list[Any] = []
    for _ in range(20_000):
        if sampling.read():
            break
        crowded += sampling.step()
    assert sampling.read() == [Sample(3, depth=3, oldest_at=1000, inboxes=3)]

    # And the database is asked once to compact
    assert crowded == [partition.stored]
    assert sampling.step() == []


def test_after_churn_the_sample_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_sampler, "REST_SECONDS", 0.0)
    # Given a database in which 30,000 queues got a message and lost it, all but every 600th
    message = encode(Message(id="1", group="g", sender="s", body=b"x", at=5000))
    keys = [b"iqueue-%05d\0%s" % (n, n.to_bytes(8, "big")) for n in range(30_000)]
    database = Database(tmp_path / "rows.db", Resources(8 << 20, 32 << 20))
    database.write([(key, message) for key in keys], 1, 0, bytes(16))
    gone = [(key, None) for n, key in enumerate(keys) if n % 600 or 10_000 < n < 20_000]
    database.write(gone, 2, 0, bytes(16))
    left = len(keys) - len(gone)
    counts = CountsByPartition()
    mine = counts.of(QUEUES, OpenPartition.number)
    mine.delivered, mine.removed = len(keys), len(gone)
    partition: Any = OpenPartition()
    partition.stored = database
    sampling = InboxSampler(lambda: [partition], counts)

    # When it is sampled, then the sample is exact, though nothing was compacted
    crowded: list[Any] = []
    for _ in range(5000):
        if sampling.read():
            break
        crowded += sampling.step()
    exact = [Sample(3, depth=left, oldest_at=5000, inboxes=left)]
    assert sampling.read() == exact

    # And once it is asked to compact, nothing is in the way any more
    assert crowded == [database]
    database.compact_deleted()
    rows, gave_up = database.walk(*views.INBOXES, 1000, inbox_sampler.MAX_DELETED)
    assert (len(rows), gave_up) == (left, False)
    database.close()
    database.compact_deleted()  # no harm is done to a database that was closed meanwhile


def test_a_key_between_two_keys_is_between_them() -> None:
    assert between(b"i", b"j") == b"i\x80"
    assert between(b"iqueue-1", b"iqueue-3") == b"iqueue-2"
    start, end = b"iab\0\0\0\1", b"iab\0\0\0\2"
    for _ in range(100):
        middle = between(start, end)
        assert middle is not None
        assert start < middle < end
        end = middle
    assert between(b"i", b"i\0") is None


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
