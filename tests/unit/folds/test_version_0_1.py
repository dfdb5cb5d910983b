"""The folds go on where version 0.1 stopped, in the middle of its logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from core_rows import rows_in
from feeding import apply

from streams.engine.testing import MemoryRows
from streams.fold import Fold, Record, split_raw_key
from streams.folds import views
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.route import Route
from streams.operate import describe

__all__ = ["rows_in"]

GOLDEN = Path(__file__).parents[1] / "golden"
PARTITIONS = 2
LATER = 1 << 60
LOGS = LogNumbers(7, 8, unnumbered_until=LATER)


@pytest.fixture(scope="module")
def kept() -> Any:
    return json.loads((GOLDEN / "version-0.1.json").read_text())


def rows_of(table: dict[str, Any]) -> MemoryRows:
    rows = MemoryRows()
    for key, value in table["rows"]:
        rows.put(*split_raw_key(bytes.fromhex(key)), bytes.fromhex(value))
    return rows


def test_all_rows_are_understood(kept: Any) -> None:
    for table in kept["tables"]:
        for key, value in rows_of(table).items():
            assert describe.row(table["table"], key, value)["row"]


def test_the_folds_go_on_from_a_checkpoint(kept: Any) -> None:
    rows: dict[tuple[str, int], MemoryRows] = {}
    for table in kept["tables"]:
        name, partition = table["table"], table["partition"]
        begun = rows[name, partition] = rows_of(table)
        if name == "members":
            fold: Fold = Route(
                begun, partition, PARTITIONS, "queue-events", LOGS, kept["window_ms"]
            )
        else:
            fold = Deliver(begun, partition, PARTITIONS, "group-events", LOGS)
        for offset in range(table["position"], len(table["records"])):
            at, key, value = table["records"][offset]
            record = Record(partition, offset, at, bytes.fromhex(key), bytes.fromhex(value))
            for _ in apply(fold, record):
                pass
            fold.flush()
            for work in fold.work:
                for _ in work:
                    pass
            fold.work.clear()
            fold.ready.clear()

    inboxes, bindings, members = {}, {}, {}
    for queue in ("q0", "q1", "q2", "q3"):
        for partition in range(PARTITIONS):
            found = list(views.inbox(rows["queues", partition], queue))
            if found:
                inboxes[queue] = [[seq, m.id, m.group, m.body.hex()] for seq, m in found]
            groups = views.groups(rows["queues", partition], queue)[0]
            if groups:
                bindings[queue] = sorted(groups)
    for group in ("g0", "g1", "räume", "g9"):
        for partition in range(PARTITIONS):
            queues = views.members(rows["members", partition], group)[0]
            if queues:
                members[group] = sorted(queues)
    assert inboxes == kept["inboxes"]
    assert bindings == kept["bindings"]
    assert members == kept["members"]
