"""What an import writes first, and what becomes of entries that no export has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import pytest

from streams.engine.changelog import MARKER
from streams.operate.backup import importing
from streams.operate.backup.changelog_rows import ChangelogRows, TopicRow
from streams.operate.backup.container import BadExport
from streams.operate.backup.placing import Placing
from streams.operate.backup.target import Target
from streams.settings import Settings

START: dict[str, Any] = {"seq_base": 7, "level": 1, "log_time": 5, "unnamed_until": None}


class Rows:
    """Takes rows in place of Kafka."""

    def __init__(self) -> None:
        self.written: list[TopicRow] = []

    def write(self, rows: Iterable[TopicRow]) -> None:
        self.written += rows


@pytest.mark.parametrize("again", [False, True])
def test_the_first_rows_are_written_once(again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Compaction would remove the first of two: then another row came first, and seqs had no base
    settings = Settings.from_env({"STREAMS_PARTITIONS": "2"})
    first = list(Placing(2, START, b"id").first_rows())
    target, rows = Target(settings, first), Rows()
    monkeypatch.setattr(target, "fence", lambda: None)
    target.begin(cast(ChangelogRows, rows), again=again)
    values = [value for _, _, key, value in rows.written if key != MARKER]
    assert values == ([] if again else [value for _, _, _, value in first])
    assert sum(key == MARKER for _, _, key, _ in rows.written) == 4


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("Session", {"queue": "q", "session": "s", "presence": True, "ttl_ms": 1, "heard_at": -1}),
        ("MessageId", {"group": "g", "id": "i", "at": -1, "sender": None}),
        ("Delivery", {"message": b"no message", "receivers": []}),
    ],
)
def test_an_entry_that_no_export_has_is_refused(kind: str, values: dict[str, Any]) -> None:
    placing = Placing(2, START, b"id")
    with pytest.raises(BadExport, match=f"a {kind} makes no rows"):
        list(importing._rows(placing, iter([(kind, values)]), Counter()))
