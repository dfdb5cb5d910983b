"""Databases and markers of older versions are opened as they are, not rebuilt."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from streams.engine.changelog import MARKER, unpack_marker
from streams.engine.database import Resources, open_or_rebuild

GOLDEN = Path(__file__).parents[1] / "golden"
TOPIC_ID = bytes(range(16))
FOREVER_MS = 1 << 60


@pytest.fixture(scope="module")
def kept() -> Any:
    tables = json.loads((GOLDEN / "version-0.1.json").read_text())["tables"]
    return next(table for table in tables if table["table"] == "queues")


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_a_database_is_opened(kept: Any, tmp_path: Path, version: str) -> None:
    with tarfile.open(GOLDEN / f"database-{version}.tar.xz") as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            if content is not None:
                target = tmp_path / member.name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(content.read())
    resources = Resources(1 << 20, 1 << 20)
    database = open_or_rebuild(tmp_path / "database", resources, TOPIC_ID, FOREVER_MS, lambda: 1235)
    try:
        assert database.next_offset == 1234
        rows = [(key.hex(), value.hex()) for key, value in database.scan(b"\1", b"\xff\xff")]
        assert rows == sorted(map(tuple, kept["rows"]))
        assert unpack_marker(database.get(MARKER)) == kept["position"]
    finally:
        database.close()


def test_markers_are_read(kept: Any) -> None:
    assert unpack_marker(bytes.fromhex(kept["marker"])) == kept["position"]
