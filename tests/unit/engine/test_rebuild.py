"""Which database on disk is continued from, and which is rebuilt from the changelog."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from streams.engine.database import Damaged, Database, Resources, open_or_rebuild

TOMBSTONE_MS = 60_000
TOPIC_ID = b"t" * 16


@pytest.fixture
def resources() -> Resources:
    return Resources(8 << 20, 8 << 20)


def write(path: Path, resources: Resources, age_ms: int = 0, topic_id: bytes = TOPIC_ID) -> None:
    """Leave a closed database with one row and changelog offset 7."""
    database = Database(path, resources)
    database.write([(b"k", b"v")], 7, int(time.time() * 1000) - age_ms, topic_id)
    database.close()


@pytest.mark.parametrize(
    ("age_ms", "topic_id", "end", "kept"),
    [
        (0, TOPIC_ID, None, True),
        (0, TOPIC_ID, 7, True),
        (0, TOPIC_ID, 6, False),  # the changelog has lost what the database has
        (TOMBSTONE_MS + 1_000, TOPIC_ID, 7, False),  # deletions since then may be missed
        (TOMBSTONE_MS + 1_000, TOPIC_ID, None, False),
        (0, b"o" * 16, 7, False),
    ],
)
def test_it_is_kept_only_where_nothing_can_be_missed(
    age_ms: int,
    topic_id: bytes,
    end: int | None,
    kept: bool,
    tmp_path: Path,
    resources: Resources,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a database of some age, of this changelog topic or of an earlier one
    path = tmp_path / "p.db"
    write(path, resources, age_ms, topic_id)
    # When it is opened, with or without a look at the end of the changelog
    ask = None if end is None else lambda: end
    opened = open_or_rebuild(path, resources, TOPIC_ID, TOMBSTONE_MS, ask)
    try:
        # Then it is continued from, or read again from the beginning, and the log says so
        assert opened.next_offset == (7 if kept else 0)
        assert opened.get(b"k") == (b"v" if kept else None)
        assert ("rebuilding from the changelog" in caplog.text) == (not kept)
    finally:
        opened.close()


def test_the_end_of_the_changelog_is_not_asked_for_a_new_database(
    tmp_path: Path, resources: Resources
) -> None:
    def ask() -> int:
        raise AssertionError("it has nothing to compare with")

    open_or_rebuild(tmp_path / "p.db", resources, TOPIC_ID, TOMBSTONE_MS, ask).close()


def test_it_is_closed_when_the_end_of_the_changelog_cannot_be_had(
    tmp_path: Path, resources: Resources
) -> None:
    def ask() -> int:
        raise TimeoutError

    path = tmp_path / "p.db"
    write(path, resources)
    with pytest.raises(TimeoutError):
        open_or_rebuild(path, resources, TOPIC_ID, TOMBSTONE_MS, ask)
    Database(path, resources).close()  # not in use any more


def test_damaged_files_are_replaced(tmp_path: Path, resources: Resources) -> None:
    path = tmp_path / "p.db"
    write(path, resources)
    os.truncate(path / "CURRENT", 3)
    with pytest.raises(Damaged):
        Database(path, resources)
    opened = open_or_rebuild(path, resources, TOPIC_ID, TOMBSTONE_MS)
    assert opened.next_offset == 0
    opened.close()


def test_files_of_another_format_are_replaced(tmp_path: Path, resources: Resources) -> None:
    path = tmp_path / "p.db"
    database = Database(path, resources)
    database._db[b"\0meta"] = struct.pack(">B", 99)
    database.close()
    opened = open_or_rebuild(path, resources, TOPIC_ID, TOMBSTONE_MS)
    assert opened.next_offset == 0
    opened.close()
