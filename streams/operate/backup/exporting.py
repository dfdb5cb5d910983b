"""`streams export`: writes a consistent copy of a live namespace to a file.

Nothing is sent to the workers or to Kafka.  See `cut` for why the copy is one state.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from streams.amounts import counted
from streams.engine.overlay import OverlayRows
from streams.errors import StreamsError
from streams.fold import Record
from streams.folds.deliver import Deliver
from streams.folds.levels import FIRST
from streams.folds.route import Route
from streams.folds.row_keys import FOUNDATION
from streams.folds.tables import MEMBERS, QUEUES
from streams.operate.backup import file
from streams.operate.backup.chosen import Chosen
from streams.operate.backup.committed import CommittedReader, log_ends
from streams.operate.backup.container import ExportWriter
from streams.operate.backup.cut import Cut
from streams.operate.backup.entries import log_time, members_entries, queues_entries
from streams.operate.backup.snapshot import TableSnapshot
from streams.operate.progress import progress
from streams.operate.rebuild import resources
from streams.operate.topic_log import TopicLog, as_record
from streams.settings import Settings

_ROWS_IN_MEMORY: Final = 50_000
_ENTRIES_PER_REPORT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds."""

    counts: dict[str, int]
    """Entries by type."""
    seconds: float
    """How long it took."""


def export(settings: Settings, out: BinaryIO, chosen: Chosen, folder: Path) -> Exported:
    """Write a copy of a live namespace.

    Args:
        settings: of the namespace.
        out: where the file goes; need not be seekable.
        chosen: the groups and queues to copy.
        folder: for databases of about the size of the tables; empty.

    Raises:
        Unavailable: Kafka does not answer, or the workers write no checkpoints.
        StreamsError: there is no such namespace, or its logs lack records.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        source = _Source(settings, folder, stack)
        source.read()
        start = source.start(chosen)
        writer = ExportWriter(out)
        writer.write(file.START, start)
        with progress("writing entries") as report:
            for count, entry in enumerate(source.entries(chosen), 1):
                writer.write(*entry)
                if not count % _ENTRIES_PER_REPORT:
                    report(count)
            report(sum(writer.counts.values()) - 1)
        writer.close()
    return Exported(dict(writer.counts), time.monotonic() - began)


class _Source:
    """The namespace that is copied."""

    def __init__(self, settings: Settings, folder: Path, stack: ExitStack) -> None:
        self._settings = settings
        log = stack.enter_context(TopicLog(settings))
        numbers = [
            log.partitions(topic)
            for topic in (
                settings.group_events,
                settings.queue_events,
                settings.changelog(MEMBERS),
                settings.changelog(QUEUES),
            )
        ]
        if any(some != list(range(settings.partitions)) for some in numbers):
            raise StreamsError(
                f"the topics have {counted(len(numbers[0]), 'partition')}, not"
                f" {settings.partitions}: set STREAMS_PARTITIONS to their number"
            )
        self._count = settings.partitions
        self._logs = log.numbers()
        shared = resources()
        self._members, self._queues = (
            stack.enter_context(TableSnapshot(settings, table, self._count, folder, shared))
            for table in (MEMBERS, QUEUES)
        )
        self._queue_log = stack.enter_context(
            CommittedReader(settings.librdkafka(), settings.queue_events)
        )
        self._at = 0
        self._cut: list[int] = []
        self._ends: list[int] = []
        self._seq_base = 0
        self._level = FIRST

    def read(self) -> None:
        """Bring both tables to one state."""
        with progress("reading the tables") as report:
            done = 0

            def count(rows: int) -> None:
                nonlocal done
                done += rows
                report(done)

            for table in (self._members, self._queues):
                table.catch_up(count)
            self._queues.catch_up(count)  # what came meanwhile; `_roll` folds the rest
            self._at = int(time.time() * 1000)
            self._members.wait_for(self._ends_of(self._settings.group_events), count)
        self._cut = self._members.positions
        self._ends = self._ends_of(self._settings.queue_events)
        self._roll()

    def start(self, chosen: Chosen) -> dict[str, Any]:
        """Return the first entry."""
        clocks = [log_time(database) for database in self._members.databases]
        return {
            "format": file.FORMAT,
            "id": str(uuid.uuid4()),
            "at": self._at,
            "namespace": self._settings.namespace,
            "partitions": self._count,
            "group_offsets": self._cut,
            "queue_offsets": self._ends,
            "seq_base": self._seq_base,
            "level": self._level,
            "log_time": max(at for at, _ in clocks),
            "unnamed_until": max((mark for _, mark in clocks if mark is not None), default=None),
            "groups": list(chosen.groups),
            "queues": list(chosen.queues),
        }

    def entries(self, chosen: Chosen) -> Iterator[file.Entry]:
        """Yield all other entries."""
        for database in self._members.databases:
            yield from members_entries(database, chosen)
        for number, database in enumerate(self._queues.databases):
            yield from queues_entries(database, chosen, self._queues.scratch(number))

    def _roll(self) -> None:
        """Fold what `queues` lacks up to the cut, and what comes of it."""
        numbers = range(self._count)
        rows = {
            table.table: [table.rows(number) for number in numbers]
            for table in (self._members, self._queues)
        }
        size, logs = self._count, self._logs
        routes = [
            Route(rows[MEMBERS][n], n, size, self._settings.queue_events, logs) for n in numbers
        ]
        delivers = [
            Deliver(rows[QUEUES][n], n, size, self._settings.group_events, logs) for n in numbers
        ]
        cut = Cut(routes, delivers, self._cut, self._ends)
        starts = dict(enumerate(self._queues.positions))
        left = sum(max(0, end - starts[n]) for n, end in enumerate(self._ends))
        with progress("folding what came meanwhile", left) as report:
            done = 0
            for number, records in self._records(starts):
                done += cut.roll(number, records)
                report(done)
                self._save(self._queues, rows[QUEUES], _ROWS_IN_MEMORY)
            cut.come_to_rest(int(time.time() * 1000))
        for table in (self._members, self._queues):
            self._save(table, rows[table.table], 0)
        self._level = max([*(one.level for one in routes), *(one.level for one in delivers)])
        self._seq_base = max(
            self._base(number) + offset for number, offset in enumerate(cut.next_offsets)
        )

    def _records(self, starts: dict[int, int]) -> Iterator[tuple[int, list[Record]]]:
        for number, start in starts.items():
            low, _ = self._queue_log.bounds(number)
            if start < low and start < self._ends[number]:
                raise StreamsError(
                    f"{self._settings.queue_events} {number} begins at offset {low}, and its "
                    f"changelog ends at {start}: retention has deleted what lies between"
                )
        for batch in self._queue_log.read(starts, dict(enumerate(self._ends))):
            for number, messages in batch.items():
                yield number, [as_record(message) for message in messages]

    def _save(self, table: TableSnapshot, rows: list[OverlayRows], most: int) -> None:
        for number, some in enumerate(rows):
            if some.pending > most:
                table.save(number, some)

    def _base(self, partition: int) -> int:
        row = self._queues.databases[partition].get(FOUNDATION + b"\0")
        return int.from_bytes((row or b"")[:8], "big")

    def _ends_of(self, topic: str) -> list[int]:
        # Not only what is committed: behind an open transaction there may be confirmed records.
        return log_ends(self._settings.librdkafka(), topic, range(self._count))
