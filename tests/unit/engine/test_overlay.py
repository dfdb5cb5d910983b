"""The overlay reads as one dictionary would, whatever lies in which layer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streams.engine.database import Database, Resources, wipe
from streams.engine.native_rows import open_rows
from streams.engine.overlay import FrozenRows
from streams.engine.testing import MemoryDatabase
from streams.native import Library, is_available, load

BUCKETS = st.sampled_from([b"a", b"aa", b"b"])
SUFFIXES = st.sampled_from([b"", b"\0", b"1", b"12", b"2", b"\xff"])
needs_core = pytest.mark.skipif(not is_available(), reason="the native core is not built")
VALUES = st.sampled_from([b"", b"v", b"w"])


class OverlayMachine(RuleBasedStateMachine):
    """Writes, checkpoints that overlap them, and reads of every kind."""

    library: Library | None = None

    @initialize()
    def begin(self) -> None:
        self.below = MemoryDatabase()
        self.rows = open_rows(self.below, self.library)
        self.model: dict[tuple[bytes, bytes], bytes] = {}
        self.frozen = False
        self.layer: FrozenRows

    @rule(bucket=BUCKETS, suffix=SUFFIXES, value=VALUES)
    def put(self, bucket: bytes, suffix: bytes, value: bytes) -> None:
        self.rows.put(bucket, suffix, value)
        self.model[bucket, suffix] = value

    @rule(bucket=BUCKETS, suffix=SUFFIXES)
    def delete(self, bucket: bytes, suffix: bytes) -> None:
        self.rows.delete(bucket, suffix)
        self.model.pop((bucket, suffix), None)

    @rule()
    def freeze_or_thaw(self) -> None:
        if self.frozen:
            self.below.write(self.layer.rows())
            self.rows.thaw()
        else:
            self.layer = self.rows.freeze()
        self.frozen = not self.frozen

    @rule(bucket=BUCKETS, after=st.none() | SUFFIXES)
    def scan(self, bucket: bytes, after: bytes | None) -> None:
        expected = sorted(
            (suffix, value)
            for (other, suffix), value in self.model.items()
            if other == bucket and (after is None or suffix > after)
        )
        assert list(self.rows.scan(bucket, after)) == expected

    @rule(bucket=BUCKETS, suffix=SUFFIXES)
    def scan_is_of_its_beginning(self, bucket: bytes, suffix: bytes) -> None:
        expected = sorted(
            (other, value) for (name, other), value in self.model.items() if name == bucket
        )
        scan = self.rows.scan(bucket)
        self.delete(bucket, suffix)
        self.put(bucket, b"new", b"v")
        assert list(scan) == expected

    @rule(cut=st.integers(0, 20))
    def items(self, cut: int) -> None:
        expected = sorted((b + b"\0" + s, value) for (b, s), value in self.model.items())
        after = expected[cut][0] if cut < len(expected) else None
        wanted = expected if after is None else expected[cut + 1 :]
        assert list(self.rows.items(after)) == wanted

    @invariant()
    def reads_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        for bucket in (b"a", b"aa", b"b"):
            for suffix in (b"", b"1", b"\xff"):
                assert self.rows.get(bucket, suffix) == self.model.get((bucket, suffix))
        assert self.rows.pending >= 0


class NativeMachine(OverlayMachine):
    """The same in the native core."""

    @initialize()
    def begin(self) -> None:
        self.library = load("on")
        super().begin()


OF_MACHINES = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOverlay = OverlayMachine.TestCase
TestOverlay.settings = OF_MACHINES
TestNativeOverlay = needs_core(NativeMachine.TestCase)
TestNativeOverlay.settings = OF_MACHINES


@pytest.fixture(params=[None, pytest.param("on", marks=needs_core)])
def library(request: pytest.FixtureRequest) -> Library | None:
    return None if request.param is None else load(request.param)


def test_a_row_that_lives_between_two_checkpoints_leaves_no_trace(library: Library | None) -> None:
    # Given a row that was never in the database
    rows = open_rows(MemoryDatabase(), library)
    rows.put(b"i", b"1", b"message")

    # When it is deleted before the next checkpoint
    rows.delete(b"i", b"1")

    # Then the checkpoint has nothing to write
    assert rows.pending == 0
    assert not list(rows.freeze().rows())


def test_a_row_of_an_earlier_checkpoint_leaves_a_tombstone(library: Library | None) -> None:
    rows = open_rows(MemoryDatabase(), library)
    rows.put(b"i", b"1", b"message")
    rows.freeze()

    rows.delete(b"i", b"1")

    rows.thaw()
    assert list(rows.freeze().rows()) == [(b"i\x001", None)]


def test_two_checkpoints_at_once_are_refused(library: Library | None) -> None:
    rows = open_rows(MemoryDatabase(), library)
    rows.freeze()
    with pytest.raises(RuntimeError):
        rows.freeze()


@pytest.fixture
def resources() -> Resources:
    return Resources(8 << 20, 8 << 20)


def test_a_database_keeps_rows_and_offset_together(tmp_path: Path, resources: Resources) -> None:
    # Given a database with rows and the offset behind them
    path = tmp_path / "members-0.db"
    database = Database(path, resources)
    database.write([(b"a\0001", b"v"), (b"a\0002", b"w")], 7, 1_000, b"t" * 16)
    database.write([(b"a\0001", None)], 9, 2_000, b"t" * 16)
    database.close()

    # When it is opened again
    database = Database(path, resources)

    # Then it stands where it stood
    assert (database.next_offset, database.written_at) == (9, 2_000)
    assert database.topic_id == b"t" * 16
    assert list(database.scan(b"a\0", b"a\x01")) == [(b"a\0002", b"w")]
    assert database.get(b"a\0001") is None
    database.close()
    wipe(path)
    assert not path.exists()


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.binary(min_size=1, max_size=6), st.binary(max_size=6), max_size=30))
def test_scans_of_rocksdb_keep_to_their_bounds(rows: dict[bytes, bytes]) -> None:
    # Given RocksDB with any rows at all (the iterator must not outlive its bound)
    import tempfile

    resources = Resources(8 << 20, 8 << 20)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "x.db", resources)
        database.write([(b"k" + key, value) for key, value in rows.items()], 1, 1, bytes(16))
        overlay = open_rows(database, load("auto"))

        # When many scans are under way at once
        scans = [overlay.scan(b"k") for _ in range(20)]
        junk = [bytes(64) for _ in range(1000)]

        # Then each of them sees the rows of its bucket and no other
        expected = sorted((key[1:], value) for key, value in rows.items() if key.startswith(b"\0"))
        for scan in scans:
            assert list(scan) == expected
        assert len(junk) == 1000
        database.close()
