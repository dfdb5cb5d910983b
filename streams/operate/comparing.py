"""Compares live tables with tables rebuilt from their logs, while the system runs.

A page of live rows belongs to one position of the fold.  The rebuilt partition is rolled
forward to that position before the two are compared, so the system need not pause.

The check that the tables are inverses uses the rebuilt tables: `members` is rolled to some
position N, then `queues` to the end that `queue-events` had once everything before N was
routed.  Any difference must then come from a change at or after N; those are compared again in
later rounds, until none is left.

Nothing else runs in this process, so reading logs and tables may block.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from streams.amounts import counted
from streams.errors import Unavailable
from streams.events.codec import decode
from streams.events.records import Bind, BindPattern, Unbind, UnbindPattern
from streams.fold import BadRecord, split_raw_key
from streams.folds.patterns import session_of
from streams.folds.row_keys import bindings_bucket, members_bucket
from streams.folds.tables import MEMBERS, QUEUES, TABLES
from streams.kafka.partitioner import partition_of
from streams.operate import describe
from streams.operate.cluster import Cluster
from streams.operate.gateway_client import GatewayClient
from streams.operate.progress import progress
from streams.operate.rebuild import Rebuilt, open_rebuilt, resources, source_topic
from streams.operate.table_rows import page
from streams.operate.topic_log import Hold, TopicLog, as_record
from streams.settings import Settings

SHOWN = 20
"""How many differences are described."""
PATIENCE_SECONDS = 60.0
ROUNDS = 30
PAUSE_SECONDS = 0.5

Pair = tuple[str, str]
"""Group and queue."""
Row = tuple[bytes, bytes]
"""Raw key and value."""
Tables = dict[str, list[Rebuilt]]
"""Rebuilt partitions of each table, by number."""


@dataclass(slots=True)
class Comparison:
    """The result of a comparison."""

    partitions: int = 0
    rows: int = 0
    bindings: int = 0
    count: int = 0
    """Differences of all kinds."""
    differences: list[str] = field(default_factory=list)
    """Descriptions of the first `SHOWN` differences."""
    from_changelog: list[str] = field(default_factory=list)
    """Table partitions whose log does not hold all of their rows."""
    holds: list[Hold] = field(default_factory=list)
    """Open transactions: what they hold is in no table yet, and is not compared."""

    def differ(self, text: str) -> None:
        """Count a difference, and keep its description if there is room."""
        self.count += 1
        if len(self.differences) < SHOWN:
            self.differences.append(text)


async def verify_all(settings: Settings, url: str, folder: Path) -> Comparison:
    """Compare all live tables of the system with their logs, and with each other.

    The rebuilt tables are written to `folder`.

    Raises:
        StreamsError: a worker or Kafka does not answer, or a table cannot be rebuilt.
    """
    result = Comparison()
    async with GatewayClient([url], settings) as gateway:
        cluster = Cluster(gateway)
        await cluster.find_workers()
        with ExitStack() as stack:
            log = stack.enter_context(TopicLog(settings))
            tables: Tables = {table: [] for table in TABLES}
            shared = resources()
            for table in TABLES:
                for number in log.partitions(source_topic(settings, table)):
                    rebuilt = open_rebuilt(log, settings, table, number, folder, shared)
                    stack.callback(rebuilt.close)
                    tables[table].append(rebuilt)
            every = [rebuilt for table in TABLES for rebuilt in tables[table]]
            result.partitions = len(every)
            result.from_changelog = [
                f"{rebuilt.table} {rebuilt.partition}"
                for rebuilt in every
                if rebuilt.from_changelog
            ]
            _fold_all(log, settings, every)
            with progress("comparing live rows with the log") as report:
                for rebuilt in every:
                    await _compare(gateway, rebuilt, result, report)
            inverse = InverseCheck(log, settings, cluster, tables, result)
            with progress("comparing bindings with their inverse") as report:
                await inverse.check(report)
            for table in TABLES:
                numbers = [rebuilt.partition for rebuilt in tables[table]]
                result.holds += log.lasting_holds(source_topic(settings, table), numbers)
    return result


def _fold_all(log: TopicLog, settings: Settings, every: list[Rebuilt]) -> None:
    """Fold the logs up to their present ends; later records are folded page by page."""
    ends = {table: log.ends(source_topic(settings, table)) for table in TABLES}
    left = sum(max(0, ends[r.table][r.partition] - r.position) for r in every)
    done = 0
    with progress("folding the logs", left) as report:

        def count(records: int) -> None:
            nonlocal done
            done += records
            report(done)

        for rebuilt in every:
            rebuilt.roll(ends[rebuilt.table][rebuilt.partition], count)


async def _compare(
    gateway: GatewayClient, rebuilt: Rebuilt, result: Comparison, report: Callable[[int], None]
) -> None:
    """Compare all rows of one table partition, page by page."""
    after: bytes | None = None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = await page(gateway, rebuilt.table, rebuilt.partition, after)
        if found.position < rebuilt.position:
            # the fold lags behind the log, or a new owner resumes from a checkpoint
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{rebuilt.table} {rebuilt.partition} is still at {found.position},"
                    f" its log at {rebuilt.position}; see /v1/cluster and the workers' logs"
                )
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        rebuilt.roll(found.position)
        until = None if found.last or not found.rows else found.rows[-1][0]
        compare_rows(rebuilt.table, found.rows, _up_to(rebuilt.items(after), until), result)
        report(result.rows)
        if until is None:
            return
        after = until
        deadline = time.monotonic() + PATIENCE_SECONDS


def _up_to(rows: Iterator[Row], last: bytes | None) -> Iterator[Row]:
    return rows if last is None else takewhile(lambda row: row[0] <= last, rows)


def compare_rows(
    table: str, live: Iterable[Row], rebuilt: Iterable[Row], result: Comparison
) -> None:
    """Compare two sequences of rows, both ascending by key; count the differences."""
    ours, theirs = iter(live), iter(rebuilt)
    mine, other = next(ours, None), next(theirs, None)
    while mine is not None or other is not None:
        result.rows += 1
        if mine == other:
            mine, other = next(ours, None), next(theirs, None)
        elif other is None or (mine is not None and mine[0] < other[0]):
            assert mine is not None
            result.differ(
                f"{table}: a live row that the log does not produce: {_shown(table, mine)}"
            )
            mine = next(ours, None)
        elif mine is None or other[0] < mine[0]:
            result.differ(f"{table}: a row is missing in the live table: {_shown(table, other)}")
            other = next(theirs, None)
        else:
            result.differ(
                f"{table}: live {_shown(table, mine)}, from the log {_shown(table, other)}"
            )
            mine, other = next(ours, None), next(theirs, None)


def _shown(table: str, row: Row) -> str:
    return json.dumps(describe.row(table, *row), ensure_ascii=False)


class InverseCheck:
    """Checks that `members` and `queues` hold the same bindings (I4)."""

    def __init__(
        self,
        log: TopicLog,
        settings: Settings,
        cluster: Cluster,
        tables: Tables,
        result: Comparison,
    ) -> None:
        self._log = log
        self._settings = settings
        self._cluster = cluster
        self._members = tables[MEMBERS]
        self._queues = tables[QUEUES]
        self._result = result

    async def check(self, report: Callable[[int], None]) -> None:
        """Compare all bindings; then repeat for those that were changing, until none is left."""
        changing = await self._round(lambda: self._all_differences(report))
        for _ in range(ROUNDS):
            if not changing:
                return
            await asyncio.sleep(PAUSE_SECONDS)
            again = sorted(changing)
            changing = await self._round(lambda: filter(self._differs, again))  # noqa: B023
        raise Unavailable(
            f"{counted(len(changing), 'binding')} changed during every round, and could not be"
            " compared"
        )

    async def _round(self, differences: Callable[[], Iterable[Pair]]) -> set[Pair]:
        """Count differences; return those that changes in flight may explain."""
        groups = self._log.ends(self._settings.group_events)
        await self._routed(groups)
        queues = self._log.ends(self._settings.queue_events)
        latest = self._log.ends(self._settings.group_events)
        self._roll(self._members, groups)
        self._roll(self._queues, queues)
        touched = self._touched(groups, latest)
        changing = set()
        for pair in differences():
            if pair in touched:
                changing.add(pair)
            else:
                self._result.differ(self._words(*pair))
        return changing

    async def _routed(self, ends: Mapping[int, int]) -> None:
        """Wait until everything before `ends` is folded and its outputs are in the log."""
        await self._cluster.folded(MEMBERS, ends, PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            partitions = await self._cluster.partitions()
            if all(
                (status := partitions.get((MEMBERS, number))) is not None
                and status.checkpointed >= end
                for number, end in ends.items()
            ):
                return
            await asyncio.sleep(PAUSE_SECONDS)
        raise Unavailable(
            "the table members takes no checkpoint; see /v1/cluster and the workers' logs"
        )

    def _roll(self, partitions: Iterable[Rebuilt], ends: Mapping[int, int]) -> None:
        for rebuilt in partitions:
            rebuilt.roll(ends[rebuilt.partition])

    def _touched(self, start: Mapping[int, int], end: Mapping[int, int]) -> set[Pair]:
        """Return the bindings that change between two positions of group-events."""
        touched = set()
        topic = self._settings.group_events
        for message in self._log.read(topic, start, end):
            try:
                event = decode(self._log.translated(topic, as_record(message).value))
            except BadRecord:
                continue
            if isinstance(event, Bind | BindPattern | Unbind | UnbindPattern):
                touched.add((event.group, event.queue))
        return touched

    def _all_differences(self, report: Callable[[int], None]) -> Iterator[Pair]:
        """Yield every pair whose binding differs between the tables."""
        for rebuilt in self._members:
            for key, value in rebuilt.items(b"m"):
                bucket, suffix = split_raw_key(key)
                if not bucket.startswith(b"m"):
                    break
                group, queue = bucket[1:].decode(), suffix.decode()
                self._result.bindings += 1
                if self._result.bindings % 1000 == 0:
                    report(self._result.bindings)
                if self._of_queue(group, queue) != session_of(value):
                    yield group, queue
        for rebuilt in self._queues:
            for key, _ in rebuilt.items(b"b"):
                bucket, suffix = split_raw_key(key)
                if not bucket.startswith(b"b"):
                    break
                group, queue = suffix.decode(), bucket[1:].decode()
                if self._of_group(group, queue) is None:
                    yield group, queue

    def _differs(self, pair: Pair) -> bool:
        return self._of_group(*pair) != self._of_queue(*pair)

    def _of_group(self, group: str, queue: str) -> bytes | None:
        """Return the session of a binding in `members`, None if there is no binding."""
        number = partition_of(group.encode(), self._settings.partitions)
        row = self._members[number].get(members_bucket(group), queue.encode())
        return None if row is None else session_of(row)

    def _of_queue(self, group: str, queue: str) -> bytes | None:
        """Return the session of a binding in `queues`, None if there is no binding."""
        number = partition_of(queue.encode(), self._settings.partitions)
        return self._queues[number].get(bindings_bucket(queue), group.encode())

    def _words(self, group: str, queue: str) -> str:
        states = (self._of_group(group, queue), self._of_queue(group, queue))
        members, queues = (
            "not bound" if s is None else f"bound in session {s.decode()}" if s else "bound"
            for s in states
        )
        return f"queue {queue} and group {group}: {members} in members, {queues} in queues"
