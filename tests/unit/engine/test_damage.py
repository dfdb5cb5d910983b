"""A database whose files are not what was written says so, and never shows less than it has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.engine.database import (
    Damaged,
    Database,
    InUse,
    Resources,
    open_or_rebuild,
)

ROWS = [(b"mg%04d\0q%04d" % (number // 5, number), os.urandom(60)) for number in range(5_000)]

Damage = Callable[[Path], None]


@pytest.fixture
def resources() -> Resources:
    return Resources(8 << 20, 8 << 20)


@pytest.fixture
def written(tmp_path: Path, resources: Resources) -> Path:
    """A closed database with its rows in one table file."""
    path = tmp_path / "members-0.db"
    database = Database(path, resources)
    database.write(ROWS, 7, 1, bytes(16))
    database.close()
    return path


def _largest(path: Path) -> Path:
    return max(path.glob("*.sst"), key=lambda file: file.stat().st_size)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x10
    file.write_bytes(content)


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def test_a_scan_that_meets_a_flipped_byte_does_not_just_end(
    written: Path, resources: Resources
) -> None:
    # Given a byte of a table file flipped, which nothing shows when it is opened
    _flip(_largest(written))
    noticed: list[bool] = []
    database = Database(written, resources, lambda: noticed.append(True))

    # When all rows are read, Then it is told, not hidden by fewer rows
    rows = database.scan(b"m", b"n")
    with pytest.raises(Damaged, match="checksum"):
        list(rows)
    assert noticed
    database.close()


def test_a_get_in_a_damaged_block_says_so(written: Path, resources: Resources) -> None:
    _flip(_largest(written))
    database = Database(written, resources)

    def bad(key: bytes) -> bool:
        try:
            database.get(key)
        except Damaged:
            return True
        return False

    assert any(bad(key) for key, _ in ROWS)
    database.close()


def test_a_get_of_many_meets_the_damage_too(written: Path, resources: Resources) -> None:
    database = Database(written, resources)
    keys = [key for key, _ in ROWS]
    assert database.get_many([*keys, b"absent"]) == [*(value for _, value in ROWS), None]
    database.close()

    _flip(_largest(written))
    database = Database(written, resources)
    with pytest.raises(Damaged):
        database.get_many(keys)
    database.close()


@pytest.mark.parametrize("damage", [_truncate, Path.unlink])
def test_a_file_cut_short_or_missing_is_seen_when_it_is_opened(
    written: Path, resources: Resources, damage: Damage
) -> None:
    damage(_largest(written))
    with pytest.raises(Damaged):
        Database(written, resources)


def test_a_pointer_cut_short_is_seen_when_it_is_opened(written: Path, resources: Resources) -> None:
    _truncate(written / "CURRENT")
    with pytest.raises(Damaged):
        Database(written, resources)


KILLED = """
import os, sys
from pathlib import Path
from streams.engine.database import Database, Resources

database = Database(Path(sys.argv[1]), Resources(8 << 20, 8 << 20))
database.write([(b"mg\\0q%d" % n, b"x" * 100) for n in range(1000)], 8, 1, bytes(16))
database._db.flush()
database.write([(b"mg\\0r", b"later")], 9, 1, bytes(16))
os._exit(9)
"""


def test_a_manifest_cut_short_under_a_newer_log_is_no_older_state(
    tmp_path: Path, resources: Resources
) -> None:
    # Given rows in a table file, a later row in the write-ahead log, and a process killed
    path = tmp_path / "members-0.db"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=180, check=False)

    # When the end of the manifest is lost, which names the table file
    (manifest,) = path.glob("MANIFEST-*")
    os.truncate(manifest, manifest.stat().st_size - 20)

    # Then it is not the later row alone that is found, with the offset that it was written at
    with pytest.raises(Damaged):
        Database(path, resources)


def test_a_killed_process_leaves_no_damage(tmp_path: Path, resources: Resources) -> None:
    path = tmp_path / "members-0.db"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=180, check=False)
    database = Database(path, resources)
    assert database.next_offset == 9
    assert len(list(database.scan(b"mg", b"mh"))) == 1001
    database.close()


def test_a_database_in_use_is_not_damaged(written: Path, resources: Resources) -> None:
    database = Database(written, resources)
    with pytest.raises(InUse):
        Database(written, resources)
    assert list(database.scan(b"m", b"n")) == ROWS
    database.close()


@pytest.mark.parametrize("kind", ["file", "link", "link to nothing"])
def test_what_is_no_folder_is_replaced(tmp_path: Path, resources: Resources, kind: str) -> None:
    # Given something else where a database is to be
    path, elsewhere = tmp_path / "members-0.db", tmp_path / "elsewhere"
    if kind == "file":
        path.write_text("no folder")
    else:
        path.symlink_to(elsewhere)
    if kind == "link":
        elsewhere.write_text("somebody's")
    # When it is opened as a worker does
    database = open_or_rebuild(path, resources, bytes(16), 1000)
    # Then it is there, and what a link led to is untouched
    database.write(ROWS[:1], 1, 1, bytes(16))
    database.close()
    if kind == "link":
        assert elsewhere.read_text() == "somebody's"
