"""Gathers the evidence of one run once the system is at rest: logs, tables, dead letters."""

from __future__ import annotations

import asyncio
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from streams.errors import StreamsError
from streams.events.codec import decode
from streams.events.limits import MAX_MESSAGE_BODY
from streams.events.records import Ack, Bind, Message, Unbind
from streams.fold import BadRecord, Record
from streams.folds.delivery import unpack
from streams.folds.patterns import session_of
from streams.folds.row_keys import split_row_key
from streams.folds.tables import TABLES
from streams.kafka.partitioner import partition_of
from streams.lab.faults.evidence import Evidence, LogEntry, Row, TablePartition
from streams.lab.faults.harness import FaultHarness
from streams.lab.workload.model import QueuedMessage
from streams.operate.gateway_client import GatewayClient
from streams.operate.rebuild import open_rebuilt, resources, source_topic
from streams.operate.table_rows import pages
from streams.operate.topic_log import TopicLog, as_record, header
from streams.settings import Settings
from streams.stall_timer import StallTimer

SETTLE_SECONDS = 120.0
QUIET_SECONDS = 1.0
PAUSE_SECONDS = 0.1


async def settle(harness: FaultHarness, seconds: float = SETTLE_SECONDS) -> str | None:
    """Wait until all records in the logs are folded and checkpointed, and no more arrive.

    Returns:
        None, or what is left after `seconds` without progress.
    """
    stall = StallTimer(seconds)
    best = None
    while True:
        ends = await asyncio.to_thread(_ends, harness.settings)
        left = _left(harness, ends)
        if left == 0:
            await asyncio.sleep(QUIET_SECONDS)
            if await asyncio.to_thread(_ends, harness.settings) == ends and not _left(
                harness, ends
            ):
                return None
        best = left if best is None else min(best, left)
        if stall.is_stalled(best):
            return (
                f"{left} records are not folded and checkpointed: {harness.monitor.describe()}\n"
                + await harness.monitor.explain(_by_topic(harness.settings, ends))
            )
        await asyncio.sleep(PAUSE_SECONDS)


def _by_topic(settings: Settings, ends: Mapping[TablePartition, int]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for (table, number), end in ends.items():
        found.setdefault(source_topic(settings, table), {})[number] = end
    return found


def _ends(settings: Settings) -> dict[TablePartition, int]:
    with TopicLog(settings) as log:
        return {
            (table, number): end
            for table in TABLES
            for number, end in log.ends(source_topic(settings, table)).items()
        }


def _left(harness: FaultHarness, ends: dict[TablePartition, int]) -> int:
    """Count the records that are not yet folded or not yet in a checkpoint."""
    owners, views = harness.monitor.owners(), harness.monitor.views
    left = 0
    for key, end in ends.items():
        owner = owners.get(key)
        if owner is None:
            left += end + 1
            continue
        row = views[owner].rows[key]
        left += max(0, end - row["position"]) + max(0, row["position"] - row["checkpointed"])
    return left


async def gather(harness: FaultHarness) -> Evidence:
    """Read everything once the system is at rest."""
    evidence = Evidence(answers=harness.answers, untouched=harness.untouched, poison=harness.poison)
    await asyncio.to_thread(_read_logs, harness.settings, evidence, harness.apart)
    async with GatewayClient(harness.urls, harness.settings) as gateway:
        for table in TABLES:
            for number in range(harness.settings.partitions):
                rows: list[Row] = []
                async for page in pages(gateway, table, number):
                    rows += page.rows
                evidence.tables.live[table, number] = rows
                shared = {
                    name.detail: value
                    for key, value in rows
                    if (name := split_row_key(table, key)).kind == "shared message"
                }
                for row in rows:
                    _take(evidence, table, *row, shared)
    await asyncio.to_thread(_rebuild, harness.settings, evidence)
    return evidence


def _take(
    evidence: Evidence, table: str, key: bytes, value: bytes, shared: Mapping[str | int, bytes]
) -> None:
    row = split_row_key(table, key)
    tables = evidence.tables
    match row.kind:
        case "member":
            tables.members[row.owner, str(row.detail)] = session_of(value).decode() or None
        case "binding":
            tables.bindings[str(row.detail), row.owner] = value.decode() or None
        case "session":
            tables.sessions[row.owner] = value.decode()
        case "delivery":
            content = unpack(value)
            named = int.from_bytes(content.shared, "big")
            message = decode(shared[named] if content.shared else content.message)
            assert isinstance(message, Message)
            delivery = QueuedMessage(int(row.detail), message.group, message.id)
            tables.inboxes.setdefault(row.owner, []).append(delivery)


def _read_logs(settings: Settings, evidence: Evidence, apart: str) -> None:
    with TopicLog(settings) as log:
        for record in _records(log, settings.group_events):
            event = _event(record)
            if (
                isinstance(event, Bind | Unbind | Message)
                and _belongs(record, event.group, settings.partitions)
                and _means_something(event)
                and not (isinstance(event, Message) and _is_apart(event, apart))
            ):
                evidence.log.append(
                    LogEntry(record.partition, record.offset, record.timestamp, event)
                )
        for record in _records(log, settings.queue_events):
            event = _event(record)
            if isinstance(event, Ack) and _belongs(record, event.queue, settings.partitions):
                evidence.acks.append(event)
        topic = settings.dead_letters
        ends = log.ends(topic)
        for message in log.read(topic, dict.fromkeys(ends, 0), ends):
            evidence.dead_letters.append(header(message, "reason") or "")


def _records(log: TopicLog, topic: str) -> Iterator[Record]:
    ends = log.ends(topic)
    return (as_record(m) for m in log.read(topic, dict.fromkeys(ends, 0), ends))


def _event(record: Record) -> object:
    try:
        return decode(record.value)
    except BadRecord:
        return None


def _belongs(record: Record, key: str, partitions: int) -> bool:
    return record.key == key.encode() and partition_of(record.key, partitions) == record.partition


def _is_apart(message: Message, start: str) -> bool:
    return message.group.removeprefix("@").startswith(start)


def _means_something(event: Bind | Unbind | Message) -> bool:
    """Return whether an event's ids are valid, by the rules of DESIGN.md section 2."""
    if isinstance(event, Message):
        group = event.group.removeprefix("@")
        return _is_id(group) and _is_id(event.id) and len(event.body) <= MAX_MESSAGE_BODY
    return (
        _is_id(event.group)
        and not event.group.startswith("@")
        and _is_id(event.queue)
        and (event.session is None or _is_id(event.session))
    )


def _is_id(text: str) -> bool:
    no_control = all(unicodedata.category(character) != "Cc" for character in text)
    return 1 <= len(text.encode()) <= 255 and no_control


def _rebuild(settings: Settings, evidence: Evidence) -> None:
    """Rebuild every table partition from its source topic and from its changelog."""
    shared = resources()
    with TopicLog(settings) as log, tempfile.TemporaryDirectory(prefix="streams-") as folder:
        for table, number in evidence.tables.live:
            end = log.bounds(source_topic(settings, table), number).high
            rebuilt = open_rebuilt(log, settings, table, number, Path(folder), shared)
            try:
                rebuilt.roll(end)
                evidence.tables.refolded[table, number] = list(rebuilt.items())
            finally:
                rebuilt.close()
            evidence.tables.restored[table, number] = read_changelog(log, settings, table, number)


def read_changelog(log: TopicLog, settings: Settings, table: str, number: int) -> list[Row]:
    """Return the rows that result from reading a whole changelog partition."""
    topic = settings.changelog(table)
    bounds = log.bounds(topic, number)
    latest: dict[bytes, bytes] = {}
    for message in log.read(topic, {number: bounds.low}, {number: bounds.high}):
        record = as_record(message)
        if record.key is None:
            raise StreamsError(f"{topic}/{number} has a record without a key")
        if record.key.startswith(b"\0"):
            continue
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = record.value
    return sorted(latest.items())
