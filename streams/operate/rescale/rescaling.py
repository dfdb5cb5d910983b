"""Splits the partitions of a namespace in steps, each of which can be repeated.

1. `Drain` folds both logs to their ends.
2. One transaction marks all partitions: no worker opens them until the end, and it is known how far
   each log was folded.
3. The changelogs get their new partitions and these their first rows, in one transaction: the
   base of seqs, which go on where the former partition was.  The other topics get theirs.
4. Rows are copied.  The former partitions lose nothing, so it can begin again at any time.
5. One transaction marks that all is copied.
6. What has moved is removed from the former partitions.
7. One transaction marks all partitions as complete.

A command that was broken off finds the marks in the changelogs, and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from streams.amounts import counted
from streams.engine.changelog import (
    MARKER,
    RescaleStep,
    pack_marker,
    rescaling_marker,
    unpack_rescaling,
)
from streams.errors import StreamsError
from streams.fold import BUCKET_SEPARATOR
from streams.folds.partition_counts import PARTITIONS_KEY, pack_counts, unpack_counts
from streams.folds.row_keys import FOUNDATION
from streams.folds.tables import MEMBERS, QUEUES, TABLES
from streams.kafka.topics import grow_topics
from streams.operate.backup.changelog_rows import ChangelogRows, TopicRow
from streams.operate.backup.committed import CommittedReader, log_ends
from streams.operate.backup.snapshot import TableSnapshot
from streams.operate.offline import check_no_workers, fence
from streams.operate.progress import Report, progress, say
from streams.operate.rebuild import resources, source_topic
from streams.operate.rescale.draining import Drain
from streams.operate.rescale.splitting import Split
from streams.operate.topic_log import TopicLog
from streams.settings import Settings

MOST: Final = 65535
_FOUNDATION_KEY: Final = FOUNDATION + BUCKET_SEPARATOR
_FIRST, _LAST = b"\1", b"\xff"


@dataclass(frozen=True, slots=True)
class Rescaled:
    """What a rescale has done."""

    former: int
    partitions: int
    rows: int
    """Rows that were written or removed; 0 if the namespace had as many partitions already."""
    late: int
    """Records that came to the former partitions of group-events meanwhile."""
    seconds: float


def rescale(
    settings: Settings,
    partitions: int,
    folder: Path,
    after_step: Callable[[str], None] = lambda step: None,
) -> Rescaled:
    """Split the partitions of a namespace whose workers are stopped.

    Args:
        settings: of the namespace; the number of partitions in them does not matter.
        partitions: how many there are to be: a multiple of their number.
        folder: for databases of about the size of the tables; empty.
        after_step: called with the name of each step that has ended, for tests.

    Raises:
        StreamsError: workers are running, the number does not fit, or another rescale has begun.
        Unavailable: Kafka does not answer; repeat it.
    """
    began = time.monotonic()
    check_no_workers(settings, "rescale")
    with ExitStack() as stack:
        log = stack.enter_context(TopicLog(settings))
        sizes = {table: len(log.partitions(settings.changelog(table))) for table in TABLES}
        there = min(sizes.values())  # some have new partitions already, if it was broken off
        settings = replace(settings, partitions=there)
        fence(settings, range(there))
        shared = resources()
        tables = {
            table: stack.enter_context(TableSnapshot(settings, table, sizes[table], folder, shared))
            for table in TABLES
        }
        with progress("reading the tables") as report:
            for table in tables.values():
                table.catch_up(_sum(report))
        step, counts = _found(tables[MEMBERS])
        if step is None:
            if there == partitions:
                return Rescaled(there, partitions, 0, 0, time.monotonic() - began)
            check_count(there, partitions)
            _check_topics(log, settings, there)
            counts = [*(counts or [there]), partitions]
        elif counts[-1] != partitions:
            raise StreamsError(
                f"a rescale to {counts[-1]} partitions has begun: repeat it with"
                f" --partitions {counts[-1]}"
            )
        else:
            say("this rescale was broken off before: it goes on")
        work = _Rescale(settings, tables, counts, after_step)
        if step is None:
            with work.changelogs():
                work.begin(log)
            step = "copying"
        if step == "copying":
            work.grow()
        with work.changelogs():  # another client: one from before knows no new partitions
            rows = work.split(step)
        return Rescaled(counts[-2], partitions, rows, work.late(), time.monotonic() - began)


def check_count(former: int, partitions: int) -> None:
    """Check that partitions can be split into so many.

    Raises:
        StreamsError: they cannot.
    """
    if partitions % former or not former < partitions <= MOST:
        raise StreamsError(
            f"the namespace has {counted(former, 'partition')}: it can be split into a multiple of"
            f" that, such as {2 * former}, up to {MOST}, not into {partitions}; for another number"
            " use `streams export` and `streams import`"
        )


def _check_topics(log: TopicLog, settings: Settings, former: int) -> None:
    for topic in (
        settings.group_events,
        settings.queue_events,
        settings.dead_letters,
        settings.changelog(QUEUES),
    ):
        count = len(log.partitions(topic))
        if count != former:
            raise StreamsError(
                f"{topic} has {counted(count, 'partition')}, and {settings.changelog(MEMBERS)} has"
                f" {former}: somebody has changed one of them, and keys may be in partitions where"
                " no fold looks for them"
            )


def _found(members: TableSnapshot) -> tuple[RescaleStep | None, list[int]]:
    """Return the step in which a rescale was broken off, and the numbers of partitions so far."""
    database = members.databases[0]
    found = unpack_rescaling(database.get(MARKER))
    return found and found[0], unpack_counts(database.get(PARTITIONS_KEY))


class _Rescale:
    """One rescale, with the rows of the former partitions in databases."""

    def __init__(
        self,
        settings: Settings,
        tables: dict[str, TableSnapshot],
        counts: list[int],
        after_step: Callable[[str], None],
    ) -> None:
        self._settings, self._tables, self._after_step = settings, tables, after_step
        self._counts = counts
        self._former, self._partitions = counts[-2:]
        self._topics = {table: settings.changelog(table) for table in TABLES}

    @contextmanager
    def changelogs(self) -> Iterator[None]:
        """Have a client that writes the changelogs; fences that of another rescale."""
        name = f"{self._settings.app_id}-rescale"
        with ChangelogRows(self._settings.librdkafka(), name) as self._changelogs:
            yield

    def begin(self, log: TopicLog) -> None:
        """Fold the logs to their ends, and mark all partitions."""
        with (
            progress("folding what is in the logs") as report,
            Drain(self._settings, log, self._tables, self._changelogs) as drain,
        ):
            drain.run(report)
        self._after_step("drain")
        numbers = range(self._former)
        rows = [
            (table, number, key, value)
            for table in TABLES
            for number in numbers
            for key, value in (
                (PARTITIONS_KEY, pack_counts(self._counts)),
                (MARKER, rescaling_marker("copying", drain.positions[table][number])),
            )
        ]
        self._changelogs.write((self._topics[table], *row) for table, *row in rows)  # type: ignore[misc]
        for table, number, key, value in rows:
            database = self._tables[table].databases[number]
            database.write([(key, value)], database.next_offset, 0, bytes(16))
        self._after_step("begin")

    def grow(self) -> None:
        """Give all topics their new partitions, and those of the changelogs their first rows.

        Workers find enough partitions only when all changelogs are marked.
        """
        settings, client = self._settings, self._settings.librdkafka()
        grow_topics(client, list(self._topics.values()), self._partitions)
        self._after_step("changelogs")
        with self.changelogs():
            self._write_first_rows()
        self._after_step("first rows")
        sources = [settings.group_events, settings.queue_events, settings.dead_letters]
        grow_topics(client, sources, self._partitions)
        self._after_step("sources")

    def split(self, step: RescaleStep) -> int:
        """Move rows, and open the partitions to workers; return how many rows were written."""
        written = 0
        if step == "copying":
            with progress("copying rows") as report:
                written = self._changelogs.write_all(self._copies(), report)
            self._after_step("copy")
            self._changelogs.write(self._markers("cleaning"))
            self._after_step("copied")
        with progress("removing rows from where they were") as report:
            written += self._changelogs.write_all(self._removals(), report)
        self._after_step("clean")
        self._changelogs.write(self._markers(None))
        self._after_step("finish")
        return written

    def late(self) -> int:
        """Return how many records have come to the former partitions of group-events meanwhile."""
        topic = source_topic(self._settings, MEMBERS)
        ends = log_ends(self._settings.librdkafka(), topic, range(self._former))
        return sum(end - self._place(MEMBERS, number) for number, end in enumerate(ends))

    def _place(self, table: str, number: int) -> int:
        """Return up to where the log of a former partition was folded."""
        found = unpack_rescaling(self._tables[table].databases[number].get(MARKER))
        assert found is not None, "all partitions are marked in one transaction"
        return found[1]

    def _write_first_rows(self) -> None:
        """Write the first rows of the new partitions, unless they are there.

        A second copy would have compaction remove the first one, so that another row came first.
        """
        numbers = range(self._former, self._partitions)
        with CommittedReader(self._settings.librdkafka(), self._topics[MEMBERS]) as reader:
            if reader.firsts([self._former]):
                return
        self._changelogs.write(
            (self._topics[table], number, key, value)
            for table in TABLES
            for number in numbers
            for key, value in (
                (_FOUNDATION_KEY, self._base(table, number).to_bytes(8, "big")),
                (PARTITIONS_KEY, pack_counts(self._counts)),
                (MARKER, rescaling_marker("copying", 0)),
            )
        )

    def _base(self, table: str, number: int) -> int:
        """Return the base of a new partition's seqs: above all that its queues have had."""
        if table == MEMBERS:
            return 0
        former = number % self._former
        row = self._tables[table].databases[former].get(_FOUNDATION_KEY) or b""
        return int.from_bytes(row[:8], "big") + self._place(table, former)

    def _copies(self) -> Iterator[TopicRow]:
        for table, number, split in self._splits():
            for key, value, places in split.places(self._rows(table, number)):
                for part, changed in places:
                    if part != number or changed != value:
                        yield self._topics[table], part, key, changed

    def _removals(self) -> Iterator[TopicRow]:
        for table, number, split in self._splits():
            for key, _, places in split.places(self._rows(table, number)):
                if all(part != number for part, _ in places):
                    yield self._topics[table], number, key, None

    def _splits(self) -> Iterator[tuple[str, int, Split]]:
        for table in TABLES:
            for number in range(self._former):
                yield table, number, Split(table, number, self._former, self._partitions)

    def _rows(self, table: str, number: int) -> Iterator[tuple[bytes, bytes]]:
        return self._tables[table].databases[number].scan(_FIRST, _LAST)

    def _markers(self, step: RescaleStep | None) -> Iterator[TopicRow]:
        """Yield the markers of all partitions, for a step or, with None, for workers."""
        for table in TABLES:
            for number in range(self._partitions):
                place = self._place(table, number) if number < self._former else 0
                marker = rescaling_marker(step, place) if step else pack_marker(place)
                yield self._topics[table], number, MARKER, marker


def _sum(report: Report) -> Report:
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        report(done)

    return add
