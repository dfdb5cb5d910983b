"""Walking over a database in small steps, past rows that were deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.engine.database import Database, Resources


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "rows.db", Resources(1 << 20, 1 << 20))
    opened.write([(b"i%04d" % n, b"%d" % n) for n in range(1000)], 1, 0, bytes(16))
    yield opened
    opened.close()


def test_a_walk_goes_on_where_it_stopped(database: Database) -> None:
    rows, gave_up = database.walk(b"i", b"j", 600, 10)
    assert (len(rows), gave_up) == (600, False)

    rest, gave_up = database.walk(rows[-1][0] + b"\0", b"j", 600, 10)

    assert (len(rest), gave_up) == (400, False)
    assert rest[0] == (b"i0600", b"600")


def test_it_keeps_to_its_bounds(database: Database) -> None:
    assert database.walk(b"i0003", b"i0005", 10, 10) == (
        [(b"i0003", b"3"), (b"i0004", b"4")],
        False,
    )
    assert database.walk(b"j", b"k", 10, 10) == ([], False)


def test_it_gives_up_at_too_many_deleted_rows(database: Database) -> None:
    database.write([(b"i%04d" % n, None) for n in range(100, 900)], 2, 0, bytes(16))

    few = database.walk(b"i", b"j", 1000, 50)
    many = database.walk(b"i", b"j", 1000, 5000)

    assert (len(few[0]), few[1]) == (100, True)
    assert (len(many[0]), many[1]) == (200, False)
