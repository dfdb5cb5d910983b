"""Large work: messages to a large group, large bodies, many sessions that close together.

Each has its own path: a message to a large group takes the second lane, in parts; a large body
is one row that inboxes share; the Unbinds of many sessions are sent at an even rate, after
everything else.  Workers are killed while this is in progress.
"""

from __future__ import annotations

import asyncio
import signal
import time

from streams.client.requests import path
from streams.events.codec import encode
from streams.events.records import Close
from streams.folds.delivery import SHARED_FROM
from streams.folds.fans import LARGEST
from streams.kafka.clients import open_producer
from streams.lab.faults.catalogue import fault
from streams.lab.faults.harness import FaultHarness
from streams.lab.faults.load import LoadPlan
from streams.operate.topic_log import TopicLog

CROWD = 3 * LARGEST
KILLS = 3
SESSIONS = 2_500
GROUPS_EACH = 6
AT_ONCE = 50
KILLED_AT = (0.0, 0.3, 0.6)
"""Shares of the Unbinds that are in the log."""
LOOK_SECONDS = 0.02
CLEARING_SECONDS = 120.0


@fault(
    "crowd",
    f"workers are killed while bodies of {SHARED_FROM + 1:,} bytes go to a group of {CROWD:,}",
    plan=lambda seed: LoadPlan(
        seed, posts=16, groups=8, queues=80, crowd=CROWD, body_bytes=SHARED_FROM + 1
    ),
    mix=False,
)
async def crowd(harness: FaultHarness) -> None:
    """Some parts of a message are written when the worker is killed, others are not."""
    for _ in range(KILLS):
        for worker in harness.workers:
            worker.signal(signal.SIGKILL)
            await harness.until_ready(1.0)
            await asyncio.sleep(1)


@fault(
    "all-close",
    f"{SESSIONS:,} sessions close at once; all workers are killed while bindings are removed",
    mix=False,
)
async def all_close(harness: FaultHarness) -> None:
    """Workers are killed between the Close and the last of the resulting Unbinds."""
    groups = harness.load.plan.groups
    names = [f"w{number}" for number in range(SESSIONS)]

    turns = asyncio.Semaphore(AT_ONCE)

    async def begin(number: int) -> None:
        some = [f"g{(number + 7 * n) % groups}" for n in range(GROUPS_EACH)]
        target = path("v1", "queues", names[number], "sessions", "wave")
        async with turns:
            known = await harness.load.until_confirmed("PUT", target, {"groups": some})
        harness.expect(known, f"PUT {target} was not confirmed")

    await asyncio.gather(*map(begin, range(SESSIONS)))
    before = await asyncio.to_thread(_length, harness)
    await asyncio.to_thread(_close, harness, names)
    wanted = len(names) * GROUPS_EACH
    for share in KILLED_AT:
        asked = await asyncio.to_thread(_until_long, harness, before + share * wanted) - before
        for worker in harness.workers:
            worker.signal(signal.SIGKILL)
        harness.notes.append(f"killed with {asked:,} events asked for, of {wanted:,}")
        await harness.until_ready(1.0)


def _close(harness: FaultHarness, names: list[str]) -> None:
    """Close all sessions directly in the log, so that many get the same timestamp."""
    producer = open_producer(harness.settings.librdkafka(), {"linger.ms": 50, "log_level": 0})
    for name in names:
        value = encode(Close(name, "wave"))
        producer.produce(harness.settings.queue_events, value, name.encode())
    left = producer.flush(60.0)
    harness.expect(not left, f"{left} closes were not confirmed")


def _until_long(harness: FaultHarness, length: float) -> int:
    """Wait until group-events has `length` records; return how many it has.  Blocks."""
    deadline = time.monotonic() + CLEARING_SECONDS
    while (found := _length(harness)) < length and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    harness.expect(found >= length, f"only {found:,} group events came")
    return found


def _length(harness: FaultHarness) -> int:
    with TopicLog(harness.settings) as log:
        return sum(log.ends(harness.settings.group_events).values())
