"""Ten thousand sessions that end at once, and the effect on everyone else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from streams.events.codec import encode
from streams.events.records import Close, Open
from streams.folds.tables import QUEUES
from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness, RunningSystem
from streams.lab.bench.messaging import GatewayApi, LatencyProbe, PacedPublisher
from streams.lab.bench.producing import EncodedEvent, EventProducer, changes
from streams.lab.bench.routed import unbound, until_routed

WHAT = (
    "Events in queue-events close {sessions:,} sessions with {bindings} bindings each at once, "
    "while {rate} messages a second go to other groups. Seconds from the first close until the "
    "last binding is gone from both tables, and the latency of messages before and during it, as "
    "in `latency`."
)
SESSIONS: Final = 10_000
BINDINGS: Final = 9
GROUP_SIZE: Final = 5
RATE: Final = 100
OTHERS: Final = 100
PATIENCE_SECONDS: Final = 120.0


def groups_of(number: int, groups: int) -> tuple[str, ...]:
    """Return the groups of a session's queue."""
    return tuple(f"s{(number * 7919 + k * (groups // BINDINGS)) % groups}" for k in range(BINDINGS))


def opens(sessions: int) -> Iterator[EncodedEvent]:
    """Yield an Open for each queue."""
    groups = sessions * BINDINGS // GROUP_SIZE
    for number in range(sessions):
        queue = f"s{number}"
        event = Open(queue, "storm", groups_of(number, groups))
        yield EncodedEvent(queue.encode(), encode(event), "Open")


def closes(sessions: int) -> Iterator[EncodedEvent]:
    """Yield a Close for each queue."""
    for number in range(sessions):
        queue = f"s{number}"
        yield EncodedEvent(queue.encode(), encode(Close(queue, "storm")), "Close")


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    sessions = harness.options.size(SESSIONS, 500)
    before = harness.options.size(20, 5)
    others = [(f"o{number}", f"o{number}") for number in range(OTHERS)]
    with harness.system() as running:
        queue_events = running.settings.queue_events
        running.settle(changes("Bind", others))
        for _ in range(2):  # the first time is the warm-up
            running.feeder.feed(queue_events, opens(sessions))
            running.positions.until_quiet()
            running.expect({f"s{n}": BINDINGS for n in range(sessions)}, "groups")
            samples = asyncio.run(_play(running, sessions, before))
            running.positions.until_quiet()
            running.expect({f"s{n}": 0 for n in range(sessions)}, "groups")
    return samples


async def _play(running: RunningSystem, sessions: int, before: float) -> list[Measurement]:
    way = GatewayApi(running.positions.look().owners, running.settings.partitions)
    async with LatencyProbe(way) as talk:
        await talk.listen(f"o{number}" for number in range(OTHERS))
        pace = PacedPublisher(talk, [f"o{number}" for number in range(OTHERS)], RATE)
        pace.start()
        await asyncio.sleep(1.0)
        calm = time.monotonic()
        await asyncio.sleep(before)
        running.meter.start()
        settings = running.settings
        start = running.positions.ends(settings.queue_events)
        began = time.monotonic()
        await asyncio.to_thread(
            EventProducer(settings).feed, settings.queue_events, closes(sessions)
        )
        ends = await until_routed(settings, start, unbound, sessions * BINDINGS, PATIENCE_SECONDS)
        gone = await asyncio.to_thread(running.positions.until_folded, QUEUES, ends)
        usage = running.meter.read()
        await pace.stop()
        return [
            Measurement("until all bindings are gone", gone - began, "s"),
            *talk.samples(since=calm, until=calm + before, prefix="before: "),
            *talk.samples(since=calm + before, until=gone, prefix="meanwhile: "),
            *usage.samples("meanwhile: "),
        ]
