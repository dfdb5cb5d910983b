"""Files that say what the folds do with a script of records, one for each level.

`python tests/unit/folds/level_files.py LEVEL` writes the file of a level.  A file whose level
is in a released version is never written again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from feeding import apply
from two_logs import LOGS, SOURCE, TABLES, Table, TwoLogs

from streams.engine.testing import MemoryRows
from streams.events import records as e
from streams.fold import BadRecord, Fold, Output, Record
from streams.folds.deliver import Deliver
from streams.folds.route import Route

FOLDER = Path(__file__).parents[1] / "golden"
PARTITIONS = 2
EVENTS = 160
GROUPS = ("g0", "g1", "g2", "räume")
QUEUES = ("q0", "q1", "q2", "q3", "q4")


def path(level: int) -> Path:
    """Return the file of a level."""
    return FOLDER / f"level-{level}.json"


def fold_of(table: Table, rows: MemoryRows, partition: int) -> Fold:
    """Return a fold as a worker makes it."""
    if table == "members":
        return Route(rows, partition, PARTITIONS, "queue-events", LOGS)
    return Deliver(rows, partition, PARTITIONS, "group-events", LOGS)


def folded(fold: Fold, record: Record) -> list[Output] | None:
    """Fold a record with all that it leaves for later; return the outputs, None if refused."""
    try:
        for _ in apply(fold, record):
            pass
    except BadRecord:
        return None
    for work in fold.work:
        for _ in work:
            pass
    fold.work.clear()
    fold.flush()
    outputs = list(fold.ready)
    fold.ready.clear()
    return outputs


def outcome(table: Table, partition: int, records: list[Record]) -> tuple[list[Any], list[Any]]:
    """Fold a whole log; return the outputs of each record and the rows, ready for JSON."""
    rows = MemoryRows()
    fold = fold_of(table, rows, partition)
    outputs = [_plain(folded(fold, record)) for record in records]
    return outputs, [[key.hex(), value.hex()] for key, value in rows.items()]


def records_of(log: dict[str, Any]) -> list[Record]:
    """Return the records of a log in a file."""
    return [
        Record(log["partition"], offset, at, bytes.fromhex(key), bytes.fromhex(value))
        for offset, (at, key, value) in enumerate(log["records"])
    ]


def _plain(outputs: list[Output] | None) -> Any:
    if outputs is None:
        return "refused"
    return [[one.topic, one.partition, one.key.hex(), one.value.hex()] for one in outputs]


def script(random: Random) -> Iterator[e.Event]:
    """Yield events of all kinds that clients write."""
    yield e.Configure("q3", max_length=3, overflow="drop_oldest")
    yield e.Configure("q4", max_tries=2, dead_letter="q0", visibility_ms=500)
    for group in GROUPS:
        for queue in QUEUES:
            yield e.Bind(group, queue)
    yield e.Message("shared", "g0", "me", body=b"x" * 4096)
    for number in range(EVENTS):
        group, queue = random.choice(GROUPS), random.choice(QUEUES)
        session = random.choice(("s0", "s1"))
        match random.randrange(16):
            case 0 | 1:
                yield e.Bind(group, queue, random.choice((None, session)))
            case 2:
                yield e.Unbind(group, queue, random.choice((None, session)))
            case 3:
                yield e.Open(queue, session, (group, "g9"), ttl_ms=random.choice((None, 3000)))
            case 4:
                yield e.Close(queue, session)
            case 5:
                yield e.Touch(queue, session)
            case 6:
                yield e.Ack(queue, upto=random.randrange(200) * 4096)
            case 7:
                yield e.Lease("q4", "worker", random.randrange(1, 4))
            case 8:
                yield e.Nack("q4", (random.randrange(100) * 4096 + 1,), delay_ms=200)
            case 9:
                yield random.choice((e.Purge(queue), e.Delete("q2")))
            case 10:
                expires = 1_000_000 + random.randrange(20_000)
                yield e.Message(f"e{number}", group, "me", expires_at=expires)
            case 11:
                yield e.Message(f"r{number}", f"@{queue}", queue, receipt=True, priority=7)
            case _:
                yield e.Message(f"m{number % 50}", group, "me", headers={"a": "b"}, body=b"text")


def write(level: int) -> None:
    """Write the file of a level: its logs, and what the folds of this code do with them."""
    world = TwoLogs(PARTITIONS)
    for event in script(Random(level)):
        world.publish(event)
        world.clock += 150
        world.settle()
    world.clock += 20_000
    world.settle()
    logs = []
    for table in TABLES:
        for partition, records in enumerate(world.logs[SOURCE[table]]):
            outputs, rows = outcome(table, partition, records)
            kept = [[r.timestamp, (r.key or b"").hex(), (r.value or b"").hex()] for r in records]
            logs.append(
                {
                    "table": table,
                    "partition": partition,
                    "records": kept,
                    "outputs": outputs,
                    "rows": rows,
                }
            )
    text = json.dumps({"level": level, "logs": logs}, indent=0)
    path(level).write_text(text + "\n")


if __name__ == "__main__":
    write(int(sys.argv[1]))
