"""Rebuilds a table partition from its log, with the folds but without a worker.

The rows go to a RocksDB database in a folder of the caller's choice, so memory does not depend
on the size of the table.  A rebuilt partition can be rolled forward to any later position.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from streams.engine.changelog import MARKER, unpack_marker
from streams.engine.database import Database, Resources
from streams.engine.overlay import OverlayRows
from streams.errors import StreamsError
from streams.fold import (
    BUCKET_SEPARATOR,
    BadRecord,
    Fold,
    FoldFactory,
    Record,
    split_raw_key,
)
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.route import Route
from streams.folds.row_keys import FOUNDATION
from streams.folds.tables import MEMBERS
from streams.kafka.first_record import first_record
from streams.operate import describe
from streams.operate.progress import progress, say
from streams.operate.topic_log import SECONDS, TopicLog, as_record
from streams.settings import MIB, Settings

ROWS_IN_MEMORY: Final = 50_000
RECORDS_PER_CHUNK: Final = 2_000
CACHE_BYTES: Final = 64 * MIB
WRITE_BUFFER_BYTES: Final = 64 * MIB

Report = Callable[[int], None]
"""Receives the number of records folded since the last call."""


def source_topic(settings: Settings, table: str) -> str:
    """Return the source topic of a table."""
    return settings.group_events if table == MEMBERS else settings.queue_events


def fold_factory(settings: Settings, table: str, logs: LogNumbers) -> FoldFactory:
    """Return the fold factory of a table."""
    size = settings.partitions
    if table == MEMBERS:
        return lambda rows, number: Route(
            rows, number, size, settings.queue_events, logs, group_topic=settings.group_events
        )
    return lambda rows, number: Deliver(rows, number, size, settings.group_events, logs)


def resources() -> Resources:
    """Return caches to be shared by all rebuilt partitions of a command."""
    return Resources(CACHE_BYTES, WRITE_BUFFER_BYTES)


class Rebuilt:
    """One table partition, rebuilt from its log up to `position`."""

    def __init__(
        self, log: TopicLog, settings: Settings, table: str, partition: int, database: Database
    ) -> None:
        """Start empty, or from the changelog if the log has not all of its rows.

        That is so if it has lost its beginning, or if the namespace was
        imported or rescaled.

        Raises:
            StreamsError: the log begins after the end of the changelog, so records are missing.
        """
        self.table = table
        self.partition = partition
        self.from_changelog = False
        """Whether the rows are not all in the log."""
        self._database = database
        self._rows = OverlayRows(database)
        self._log = log
        topic = self._topic = source_topic(settings, table)
        low = log.bounds(topic, partition).low
        start = 0
        if low > 0 or self._was_placed(settings):
            self.from_changelog = True
            start = self._restore(log, settings.changelog(table))
            if start < low:
                raise StreamsError(
                    f"{table} {partition} cannot be rebuilt: {topic} begins at offset {low},"
                    f" its changelog ends at {start}; retention has deleted what lies between"
                )
        self._source = log.reader(topic, partition, start)
        factory = fold_factory(settings, table, log.numbers())
        self._fold: Fold = factory(self._rows, partition)

    @property
    def position(self) -> int:
        """Source offset of the next record to fold."""
        return self._source.position

    def roll(self, to: int, report: Report = lambda records: None) -> None:
        """Fold the source up to, not including, the offset `to`.

        Raises:
            Unavailable: the log does not reach it.
        """
        records = self._source.read_to(to)
        while chunk := list(itertools.islice(records, RECORDS_PER_CHUNK)):
            for record in chunk:
                self._apply(record)
            self._fold.flush()
            self._fold.ready.clear()  # the workers have written these outputs already
            if self._rows.pending >= ROWS_IN_MEMORY:
                self._write()
            report(len(chunk))

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        """Return the value of a row, None if there is no such row."""
        return self._rows.get(bucket, suffix)

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) in ascending order, strictly after `after`."""
        return self._rows.items(after)

    def close(self) -> None:
        """Close log and database."""
        self._source.close()
        self._database.close()

    def _apply(self, record: Record) -> None:
        try:
            value = self._log.translated(self._topic, record.value)
            if value is not record.value:
                record = record._replace(value=value)
            steps = self._fold.apply(record)
        except BadRecord:
            return  # a dead letter: it changed no row
        if steps is not None:
            for _ in steps:
                pass
        self._fold.work.clear()  # it changes no row

    def _was_placed(self, settings: Settings) -> bool:
        # After a rescale the log of a former partition holds what has moved: the last one is new.
        last = settings.partitions - 1
        first = first_record(settings.librdkafka(), settings.changelog(self.table), last, SECONDS)
        return first is not None and first[0] == FOUNDATION + BUCKET_SEPARATOR

    def _restore(self, log: TopicLog, changelog: str) -> int:
        """Load the rows of the changelog; return the source offset that they represent."""
        bounds = log.bounds(changelog, self.partition)
        marker: bytes | None = None
        for message in log.read(
            changelog, {self.partition: bounds.low}, {self.partition: bounds.high}
        ):
            record = as_record(message)
            assert record.key is not None
            if record.key == MARKER:
                marker = record.value  # an earlier one may be that of an import
                continue
            bucket, suffix = split_raw_key(record.key)
            if record.value is None:
                self._rows.delete(bucket, suffix)
            else:
                self._rows.put(bucket, suffix, record.value)
            if self._rows.pending >= ROWS_IN_MEMORY:
                self._write()
        return unpack_marker(marker) or 0

    def _write(self) -> None:
        layer = self._rows.freeze()
        self._database.write(layer.rows(), 0, 0, bytes(16))
        self._rows.thaw()


def open_rebuilt(
    log: TopicLog, settings: Settings, table: str, partition: int, folder: Path, shared: Resources
) -> Rebuilt:
    """Start to rebuild a table partition below `folder`; raises like `Rebuilt`."""
    database = Database(folder / f"{table}-{partition}", shared)
    return Rebuilt(log, settings, table, partition, database)


def rebuilt_rows(
    settings: Settings, table: str, partition: int, to: int | None = None
) -> Iterator[dict[str, Any]]:
    """Rebuild a table partition in a temporary folder; yield its rows as plain values.

    `to` is the source offset to stop before; None stands for the end of the log.

    Raises:
        StreamsError: there is no such partition, or its log does not reach `to`.
    """
    topic = source_topic(settings, table)
    with TopicLog(settings) as log, tempfile.TemporaryDirectory(prefix="streams-") as folder:
        if partition not in log.partitions(topic):
            raise StreamsError(f"{topic} has no partition {partition}")
        bounds = log.bounds(topic, partition)
        end = bounds.high if to is None else to
        if not bounds.low <= end <= bounds.high:
            raise StreamsError(
                f"cannot rebuild up to offset {end}: {topic} {partition} has offsets"
                f" {bounds.low} to {bounds.high}"
            )
        rebuilt = open_rebuilt(log, settings, table, partition, Path(folder), resources())
        try:
            if rebuilt.from_changelog:
                say(f"{topic} begins at {bounds.low}: starting from the changelog")
                if rebuilt.position > end:
                    raise StreamsError(
                        f"cannot rebuild up to offset {end}: the changelog starts the rebuild"
                        f" at {rebuilt.position}"
                    )
            if to is None:
                for hold in log.lasting_holds(topic, [partition]):
                    say(f"{hold}; the table is rebuilt up to there")
            done = 0
            with progress(f"folding {topic} {partition}", end - rebuilt.position) as report:

                def count(records: int) -> None:
                    nonlocal done
                    done += records
                    report(done)

                rebuilt.roll(end, count)
            for key, value in rebuilt.items():
                yield describe.row(table, key, value)
        finally:
            rebuilt.close()
