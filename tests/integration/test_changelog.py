"""Fencing, atomic checkpoints and exact recovery of one table partition, on a real Kafka."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.engine.changelog import (
    MARKER,
    ChangelogBroken,
    ChangelogWriter,
    Fenced,
    Stopped,
    pack_marker,
    unpack_marker,
)
from streams.engine.changelog_reader import ChangelogReader
from streams.engine.database import Database, Resources
from streams.engine.native_rows import open_rows
from streams.engine.overlay import FrozenRows
from streams.engine.testing import MemoryDatabase
from streams.events.limits import MAX_MESSAGE_BYTES
from streams.kafka.clients import RECORD_BYTES
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.topics import ensure_topics
from streams.native import is_available, load
from streams.settings import Settings
from streams.topics import product_topics

needs_core = pytest.mark.skipif(not is_available(), reason="the native core is not built")
TOPIC_ID = b"t" * 16
Restore = Callable[[str], dict[bytes, bytes]]


@pytest.fixture
def topic(settings: Settings) -> str:
    ensure_topics(settings.librdkafka(), product_topics(settings))
    return settings.changelog("members")


@pytest.fixture
def writer(settings: Settings, topic: str) -> Callable[[], ChangelogWriter]:
    """Opens a writer of partition 0, as the owner of the partition does."""

    def make() -> ChangelogWriter:
        opened = ChangelogWriter(
            topic,
            0,
            settings.librdkafka(),
            f"{settings.app_id}-members-0",
            lambda: False,
            core=load("auto"),
        )
        opened.open()
        return opened

    return make


@pytest.fixture
def restore(settings: Settings, topic: str, tmp_path: Path) -> Restore:
    """Restores partition 0 into the named database; returns its rows."""
    resources = Resources(8 << 20, 8 << 20)

    def rows(name: str) -> dict[bytes, bytes]:
        database = Database(tmp_path / name, resources)
        reader = ChangelogReader(topic, 0, settings.librdkafka(), database, TOPIC_ID)
        try:
            at_end = False
            while not at_end:
                _, at_end = reader.read(0.5)
            return dict(database.scan(b"\0", b"\xff"))
        finally:
            reader.close()
            database.close()

    return rows


Checkpoint = Callable[..., tuple[FrozenRows, int]]


@pytest.fixture(params=["off", pytest.param("on", marks=needs_core)])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    """Makes the arguments of `ChangelogWriter.append`; the rows are Python's or the core's."""
    core = load(request.param)

    def make(position: int, **changes: bytes | None) -> tuple[FrozenRows, int]:
        rows = open_rows(MemoryDatabase(), core)
        for name, value in changes.items():
            if value is None:
                rows.delete(b"r", name.encode())
            else:
                rows.put(b"r", name.encode(), value)
        return rows.freeze(), position

    return make


def without_meta(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the rows by their names; the marker keeps its key."""
    return {key.removeprefix(b"r\0"): row for key, row in rows.items() if key != b"\0meta"}


def test_state_and_position_come_back_together(
    writer: Callable[[], ChangelogWriter], restore: Restore, checkpoint: Checkpoint
) -> None:
    # Given two checkpoints, the second of which deletes a row of the first
    owner = writer()
    owner.append(*checkpoint(10, a=b"1", b=b"2", empty=b""))
    owner.append(*checkpoint(20, a=None, c=b"3"))

    # When they are restored without local state, and then again with it
    cold, warm = restore("cold"), restore("cold")

    # Then rows and position are those of the last checkpoint
    assert without_meta(warm) == without_meta(cold)
    assert unpack_marker(cold[MARKER]) == 20
    assert without_meta(cold) == {
        b"b": b"2",
        b"empty": b"",
        b"c": b"3",
        MARKER: pack_marker(20),
    }
    owner.close()


def test_a_former_owner_is_fenced_and_leaves_nothing_behind(
    writer: Callable[[], ChangelogWriter], restore: Restore, checkpoint: Checkpoint
) -> None:
    # Given an owner that has written a checkpoint
    zombie = writer()
    zombie.append(*checkpoint(10, a=b"old"))

    # When another takes over, and the first wakes up and continues
    owner = writer()
    owner.append(*checkpoint(15, a=b"new", b=b"new"))
    with pytest.raises(Fenced):
        zombie.append(*checkpoint(99, a=b"zombie", z=b"zombie"))

    # Then the new owner can continue, and nothing from the zombie is visible
    owner.append(*checkpoint(16, b=None))
    rows = restore("after")
    assert without_meta(rows) == {b"a": b"new", MARKER: pack_marker(16)}
    owner.close()
    zombie.close()


HALF = """
import os, sys
from streams.engine.changelog import ChangelogWriter
from streams.settings import Settings

settings = Settings.from_env()
topic = settings.changelog("members")
writer = ChangelogWriter(
    topic, 0, settings.librdkafka(), f"{settings.app_id}-members-0", lambda: False
)
writer.open()
writer._producer.begin_transaction()
for number in range(1000):
    writer._producer.produce(topic, b"half", b"row-%d" % number, 0)
writer._producer.produce(topic, b"half", b"a", 0)
writer._producer.flush(30)
print("half", flush=True)
os.kill(os.getpid(), 9)
"""


def test_an_unfinished_checkpoint_is_not_visible(
    kafka: EmbeddedKafka,
    namespace: str,
    writer: Callable[[], ChangelogWriter],
    restore: Restore,
    checkpoint: Checkpoint,
) -> None:
    # Given a checkpoint, and a process that is killed in the middle of the next one
    owner = writer()
    owner.append(*checkpoint(10, a=b"whole"))
    owner.close()
    environment = {
        **os.environ,
        "STREAMS_BROKERS": kafka.brokers,
        "STREAMS_NAMESPACE": namespace,
        "STREAMS_PARTITIONS": "4",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HALF)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "half" in done.stdout

    # When the next owner opens the partition and restores it
    began = time.monotonic()
    heir = writer()
    rows = restore("heir")

    # Then it is at the last complete checkpoint, without waiting for a timeout
    assert without_meta(rows) == {b"a": b"whole", MARKER: pack_marker(10)}
    assert time.monotonic() - began < 55
    heir.append(*checkpoint(11, b=b"next"))
    assert without_meta(restore("heir")) == {
        b"a": b"whole",
        b"b": b"next",
        MARKER: pack_marker(11),
    }
    heir.close()


def test_a_row_may_hold_the_largest_message(
    writer: Callable[[], ChangelogWriter], restore: Restore, checkpoint: Checkpoint
) -> None:
    row = os.urandom(MAX_MESSAGE_BYTES + 1000)
    writer().append(*checkpoint(1, a=row))
    assert without_meta(restore("large"))[b"a"] == row


def test_more_rows_than_the_producer_s_queue_holds(
    writer: Callable[[], ChangelogWriter], restore: Restore, checkpoint: Checkpoint
) -> None:
    rows = {f"row-{number}": b"%d" % number for number in range(60_000)}
    writer().append(*checkpoint(1, **rows))
    restored = without_meta(restore("many"))
    del restored[MARKER]
    assert restored == {name.encode(): value for name, value in rows.items()}


def test_a_row_that_is_too_large_breaks_the_changelog(
    writer: Callable[[], ChangelogWriter], checkpoint: Checkpoint
) -> None:
    with pytest.raises(ChangelogBroken, match="too large"):
        writer().append(*checkpoint(1, a=os.urandom(2 * RECORD_BYTES)))


def test_a_database_is_as_old_as_what_it_has_read(
    settings: Settings,
    topic: str,
    writer: Callable[[], ChangelogWriter],
    tmp_path: Path,
    checkpoint: Checkpoint,
) -> None:
    # Given a changelog, the first part of it older than the rest
    first = writer()
    first.append(*checkpoint(1, a=b"1"))
    between = time.time() * 1000
    first.append(*checkpoint(2, **{f"k{number}": b"2" for number in range(10)}))
    # When a reader stops in between, Then its database says so
    database = Database(tmp_path / "old", Resources(8 << 20, 8 << 20))
    reader = ChangelogReader(topic, 0, settings.librdkafka(), database, TOPIC_ID)
    try:
        reader.BATCH = 1
        while not reader.read(5.0)[0]:
            pass
        assert 0 < database.written_at <= between
        # And when it has read all there is, it is of now
        reader.BATCH = 100
        read_all = time.time() * 1000
        at_end = False
        while not at_end:
            _, at_end = reader.read(5.0)
        assert database.written_at >= read_all - 1
    finally:
        reader.close()
        database.close()


def test_a_blocking_writer_can_be_stopped(settings: Settings, topic: str) -> None:
    stopping = ChangelogWriter(
        topic,
        0,
        {"bootstrap.servers": "127.0.0.1:1", "log_level": 0},
        "nobody",
        lambda: True,
    )
    with pytest.raises(Stopped):
        stopping.open()
    stopping.close()
