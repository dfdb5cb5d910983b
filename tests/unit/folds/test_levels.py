"""Levels of the folds: each keeps its outputs, and a partition changes at one place of its log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from core_rows import rows_in
from level_files import fold_of, outcome, path, records_of
from two_logs import LOGS, TABLES, Table

from streams.engine.testing import MemoryRows
from streams.errors import TooNew
from streams.events.codec import encode
from streams.events.records import Level
from streams.fold import BadRecord, Record
from streams.folds import levels
from streams.folds.row_keys import LEVEL, split_row_key
from streams.kafka.partitioner import own_key
from streams.operate import describe

__all__ = ["rows_in"]

CHANGED = """\
The folds of level {level} do other things with records that logs may hold already.  Workers of the
new version would replay what the former version has folded, and the outputs of both would mix.  Go
on with the former behaviour below a new level, raise streams.folds.levels.KNOWN, and write the file
of the new level: python tests/unit/folds/level_files.py LEVEL
While no version with level {level} is released (see the changelog), write its file again instead.
"""
LOG = {"members": LOGS.group_events, "queues": LOGS.queue_events}


@pytest.fixture
def two_known() -> Iterator[None]:
    """Let the folds know level 2, which does what level 1 does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "KNOWN", 2)
        yield


def record(table: Table, level: int, offset: int = 0, log: int | None = None) -> Record:
    value = encode(Level(level, LOG[table] if log is None else log, 0))
    return Record(0, offset, 1000, own_key("level", 0, 2), value)


def test_there_is_a_file_of_each_level() -> None:
    assert [level for level in range(1, 100) if path(level).exists()] == list(
        range(1, levels.KNOWN + 1)
    )


@pytest.mark.parametrize("level", range(1, levels.KNOWN + 1))
def test_each_level_does_what_it_always_did(level: int) -> None:
    for log in json.loads(path(level).read_text())["logs"]:
        table: Table = log["table"]
        outputs, rows = outcome(table, log["partition"], records_of(log))
        message = CHANGED.format(level=level)
        for now, kept in zip(outputs, log["outputs"], strict=True):
            assert _told(now) == _told(kept), message
        assert [_row(table, row) for row in rows] == [_row(table, row) for row in log["rows"]], (
            message
        )


def _told(outputs: Any) -> Any:
    """Return outputs with decoded values: a new version of a schema may change their bytes."""
    if outputs == "refused":
        return outputs
    return [(*where, describe.plain(bytes.fromhex(value))) for *where, value in outputs]


def _row(table: str, row: list[str]) -> Any:
    key, value = map(bytes.fromhex, row)
    if b"\xc3\x01" in value:
        return key, describe.row(table, key, value)
    return key, value


@pytest.mark.parametrize("table", TABLES)
def test_a_level_takes_effect_and_is_kept_in_the_rows(table: Table, two_known: None) -> None:
    rows = MemoryRows()
    fold: Any = fold_of(table, rows, 0)
    assert fold.level == levels.FIRST
    fold.apply(record(table, 2))
    assert fold.level == 2
    # A lower one, or the same, changes nothing
    fold.apply(record(table, 1))
    assert fold.level == 2
    again: Any = fold_of(table, rows, 0)
    assert again.level == 2
    ((key, _),) = rows.items()
    assert split_row_key(table, key).kind == "level"
    assert describe.row(table, key, b"\0\2")["level"] == 2


@pytest.mark.parametrize("table", TABLES)
def test_an_unknown_level_is_no_dead_letter(table: Table) -> None:
    rows = MemoryRows()
    with pytest.raises(TooNew, match=r"level 7 of the folds from offset 5 on.*up to 1"):
        fold_of(table, rows, 0).apply(record(table, 7, offset=5))
    assert not list(rows.items())


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_an_unknown_level_are_not_opened(table: Table) -> None:
    rows = MemoryRows()
    rows.put(LEVEL, b"", b"\0\7")
    with pytest.raises(TooNew, match="level 7"):
        fold_of(table, rows, 0)


@pytest.mark.parametrize("table", TABLES)
def test_a_level_from_elsewhere_is_refused(table: Table, two_known: None) -> None:
    rows = MemoryRows()
    fold: Any = fold_of(table, rows, 0)
    with pytest.raises(BadRecord, match="names log 5, not"):
        fold.apply(record(table, 99, log=5))
    with pytest.raises(BadRecord, match="level must be"):
        fold.apply(record(table, 0))
    with pytest.raises(BadRecord, match="level must be"):
        fold.apply(record(table, 1 << 16))
    misplaced = record(table, 2)._replace(key=own_key("level", 1, 2))
    with pytest.raises(BadRecord, match="belongs to partition 1"):
        fold.apply(misplaced)
    assert fold.level == levels.FIRST
    assert not list(rows.items())
