"""More than the workers can take, and changelogs that compaction has been through."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from streams.engine.changelog import MARKER
from streams.events.codec import encode
from streams.events.records import Message
from streams.folds.tables import TABLES
from streams.kafka.clients import open_producer
from streams.lab.faults.catalogue import fault
from streams.lab.faults.harness import FaultHarness
from streams.lab.faults.load import LoadPlan
from streams.operate.topic_log import TopicLog, as_record
from streams.settings import MIB, Settings

BURST_SECONDS = 3.0
SLOW_SECONDS = 20.0
MESSAGES = 12_000
BODY = b"overload"
MOST_RSS = 600 * MIB
COMPACTED_SECONDS = 90.0


@fault(
    "overload",
    "producers outrun the workers, which get a tenth of the CPU; most inboxes are never read",
    mix=False,
    plan=lambda seed: LoadPlan(seed, online=16),
)
async def overload(harness: FaultHarness) -> None:
    """Memory stays bounded, everything drains."""
    harness.monitor.most_rss = 0
    began = time.monotonic()
    slow = asyncio.create_task(_slow_down(harness))
    deepest = 0
    producer = open_producer(
        harness.settings.librdkafka(),
        {
            "linger.ms": 20,
            "queue.buffering.max.messages": 2 * MESSAGES,
            "log_level": 0,
        },
    )
    try:
        for number in range(MESSAGES):
            group = f"g{number % harness.load.plan.groups}"
            message = Message(f"o{number}", group, "faults", body=BODY, at=1)
            producer.produce(harness.settings.group_events, encode(message), group.encode())
            if number % (MESSAGES // 200) == 0:
                producer.poll(0)
                deepest = max(deepest, _lag(harness))
                await asyncio.sleep(BURST_SECONDS / 200)
        await asyncio.to_thread(producer.flush, 60.0)
        while time.monotonic() - began < SLOW_SECONDS:
            deepest = max(deepest, _lag(harness))
            await asyncio.sleep(0.1)
    finally:
        slow.cancel()
        for worker in harness.workers:
            worker.signal(signal.SIGCONT)
    drained = await harness.until(lambda: _lag(harness) < 100, 300, "it does not drain")
    harness.notes.append(
        f"{MESSAGES:,} messages in {BURST_SECONDS:g} s, {deepest:,} records behind at most,"
        f" drained in {drained:.0f} s, largest worker {harness.monitor.most_rss // MIB} MiB"
    )
    harness.expect(deepest > 1_000, "the workers were never behind")
    harness.expect(
        harness.monitor.most_rss < MOST_RSS, f"a worker took {harness.monitor.most_rss // MIB} MiB"
    )
    await harness.until_ready()


async def _slow_down(harness: FaultHarness) -> None:
    """Leave the workers a tenth of the time, in slices."""
    while True:
        for worker in harness.workers:
            worker.signal(signal.SIGSTOP)
        await asyncio.sleep(0.36)
        for worker in harness.workers:
            worker.signal(signal.SIGCONT)
        await asyncio.sleep(0.04)


def _lag(harness: FaultHarness) -> int:
    return sum(
        row["lag"]
        for view in harness.monitor.views.values()
        if view.fresh
        for row in view.rows.values()
    )


@fault(
    "compacted",
    "all data folders are lost; workers recover from compacted changelogs",
    mix=False,
    settings={"STREAMS_STANDBYS": "0"},
)
async def compacted(harness: FaultHarness) -> None:
    """Compaction leaves the last row of each key and one marker."""
    await asyncio.to_thread(_compact_soon, harness.settings)
    most: dict[tuple[str, int], int] = {}
    deadline = time.monotonic() + COMPACTED_SECONDS
    while True:
        now = await asyncio.to_thread(_markers, harness.settings)
        for key, count in now.items():
            most[key] = max(most.get(key, 0), count)
        cleaned = sum(count < most[key] / 2 for key, count in now.items())
        if cleaned >= len(now) // 2 or time.monotonic() > deadline:
            break
        await asyncio.sleep(1)
    harness.notes.append(f"{cleaned} of {len(now)} changelog partitions compacted")
    harness.expect(cleaned >= len(now) // 2, "Kafka did not compact the changelogs")
    for worker in harness.workers:
        await harness.end(worker)
        shutil.rmtree(worker.folder)
    for worker in harness.workers:
        harness.begin(worker)
    await harness.until_ready(0.5)


def _compact_soon(settings: Settings) -> None:
    admin = AdminClient({**settings.librdkafka(), "log_level": 0})
    soon = {"segment.ms": "2000", "min.cleanable.dirty.ratio": "0.01", "min.compaction.lag.ms": "0"}
    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            settings.changelog(table),
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in soon.items()
            ],
        )
        for table in TABLES
    ]
    for done in admin.incremental_alter_configs(resources).values():
        done.result(30)


def _markers(settings: Settings) -> dict[tuple[str, int], int]:
    """Count the markers that each changelog partition still has."""
    found: dict[tuple[str, int], int] = {}
    with TopicLog(settings) as log:
        for table in TABLES:
            topic = settings.changelog(table)
            ends = log.ends(topic)
            found |= {(table, number): 0 for number in ends}
            for message in log.read(topic, dict.fromkeys(ends, 0), ends):
                record = as_record(message)
                found[table, record.partition] += record.key == MARKER
    return found
