"""What a look for a row costs when filters are larger than the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.engine.database import Database, Resources

ROWS = 300_000
LOOKS = 300
_COUNTERS = Path("/proc/self/io")


def _bytes_read() -> int:
    """Return what this process has read from files, out of the system's cache or not."""
    fields = dict(line.split(": ") for line in _COUNTERS.read_text().splitlines())
    return int(fields["rchar"])


@pytest.mark.skipif(not _COUNTERS.exists(), reason="the system does not count what is read")
def test_a_look_for_an_absent_row_does_not_read_the_filter_of_a_whole_file(tmp_path: Path) -> None:
    database = Database(tmp_path / "rows.db", Resources(256 << 10, 64 << 20))
    for first in (0, 1):  # two files, to be merged: the filters of new ones are pinned
        rows = [(b"m%d\0q" % number, b"\0\1") for number in range(first, ROWS, 2)]
        database.write(rows, ROWS, 0, bytes(16))
        database._db.flush()
    database._db.compact_range(None, None)
    filter_bytes = ROWS * 10 // 8

    before = _bytes_read()
    for number in range(LOOKS):
        assert database.get(b"m%d\0absent" % (number * ROWS // LOOKS)) is None
    read = (_bytes_read() - before) / LOOKS
    database.close()

    assert read < filter_bytes / 3
