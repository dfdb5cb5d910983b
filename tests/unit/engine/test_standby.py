"""Which database a standby goes on with, and which it builds anew."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streams.engine.database import Database, Resources
from streams.engine.standby import StandbyFollower

TOMBSTONE_MS = 60_000
TOPIC_ID = b"t" * 16


@pytest.mark.parametrize(
    ("age_ms", "topic_id", "kept"),
    [
        (0, TOPIC_ID, True),
        (TOMBSTONE_MS + 1_000, TOPIC_ID, False),  # what was deleted since is not told any more
        (0, b"o" * 16, False),
    ],
)
def test_it_goes_on_only_where_nothing_can_be_missing(
    age_ms: int, topic_id: bytes, kept: bool, tmp_path: Path
) -> None:
    # Given a database of some age, of this topic or of one of its name before
    resources = Resources(8 << 20, 8 << 20)
    database = Database(tmp_path / "p.db", resources)
    database.write([(b"k", b"v")], 7, int(time.time() * 1000) - age_ms, topic_id)
    database.close()
    # When a standby opens it
    standby = StandbyFollower({}, "g", resources, lambda _: TOPIC_ID, TOMBSTONE_MS)
    opened = standby._open(("changelog", 0), tmp_path / "p.db")
    try:
        # Then it reads on from there, or all of it again
        assert opened.next_offset == (7 if kept else 0)
        assert opened.get(b"k") == (b"v" if kept else None)
    finally:
        opened.close()
