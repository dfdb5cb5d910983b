"""A group of a million: what a bind in it costs, and a message to it, and what others notice."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Final

from streams.folds.tables import QUEUES
from streams.kafka.partitioner import partition_of
from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness, RunningSystem
from streams.lab.bench.messaging import GatewayApi, LatencyProbe, PacedPublisher
from streams.lab.bench.producing import changes
from streams.lab.bench.routed import delivered, until_routed
from streams.lab.bench.usage import WORKER

WHAT = (
    "Binds of new queues to one group of {members:,}, and as many binds to groups of five in the "
    "same partition, each as in `churn`. Then one message to the large group: seconds until the "
    "inbox of its last member has it, and the latency of {rate} messages a second to other "
    "groups before and during it, in other partitions and in the same one."
)
MEMBERS: Final = 1_000_000
SMALL: Final = 5
RATE: Final = 100
OTHERS: Final = 48
ROUNDS: Final = 3
HOT: Final = "hot"
PATIENCE_SECONDS: Final = 300.0


def names(prefix: str, partitions: int, *, with_hot: bool) -> Iterator[str]:
    """Yield ids of groups in the partition of the hot one, or outside it."""
    hot = partition_of(HOT.encode(), partitions)
    for number in itertools.count():
        group = f"{prefix}{number}"
        if (partition_of(group.encode(), partitions) == hot) == with_hot:
            yield group


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    size = harness.options.size
    members, binds, before = size(MEMBERS, 20_000), size(20_000, 1_000), size(20, 5)
    partitions = harness.settings.partitions
    small = list(itertools.islice(names("small", partitions, with_hot=True), binds))
    near = list(itertools.islice(names("near", partitions, with_hot=True), OTHERS))
    far = list(itertools.islice(names("far", partitions, with_hot=False), OTHERS))
    with harness.system() as running:
        running.settle(changes("Bind", ((HOT, f"h{n}") for n in range(members))))
        running.settle(
            changes("Bind", ((g, f"{g}-{n}") for g in [*small, *near, *far] for n in range(SMALL)))
        )
        samples = _binds(running, members, small)
        samples += asyncio.run(_message(running, members, near, far, before))
        running.positions.until_quiet()
        running.expect({f"h{number}": 1 for number in range(members)}, "depth")
    return samples


def _binds(running: RunningSystem, members: int, small: list[str]) -> list[Measurement]:
    """Bind as many new queues to the large group as to small ones, one each, in turns."""
    count = len(small) * ROUNDS
    few_seconds = few_cpu = large_seconds = large_cpu = 0.0
    for number in range(ROUNDS + 1):  # The first is the warm-up.
        queues = [f"new{number}-{n}" for n in range(len(small))]
        in_few = list(zip(small, queues, strict=True))
        in_large = [(HOT, queue) for queue in queues]
        few = running.drain(changes("Bind", in_few))
        large = running.drain(changes("Bind", in_large))
        running.settle(changes("Unbind", [*in_few, *in_large]))
        if number:
            few_seconds += few.seconds
            large_seconds += large.seconds
            few_cpu += few.worker_micros * few.events
            large_cpu += large.worker_micros * large.events
    return [
        Measurement(f"bind in a group of {SMALL}", few_seconds * 1e6 / count, "µs", "bind", SMALL),
        Measurement(
            f"bind in a group of {members:,}", large_seconds * 1e6 / count, "µs", "bind", members
        ),
        Measurement("the second, in terms of the first", 100 * large_seconds / few_seconds, "%"),
        Measurement(f"worker CPU per bind in a group of {SMALL}", few_cpu / count, "µs"),
        Measurement(f"worker CPU per bind in a group of {members:,}", large_cpu / count, "µs"),
    ]


async def _message(
    running: RunningSystem, members: int, near: list[str], far: list[str], before: float
) -> list[Measurement]:
    way = GatewayApi(running.positions.look().owners, running.settings.partitions)
    async with LatencyProbe(way) as talk:
        await talk.listen(f"{group}-0" for group in [*near, *far])
        pace = PacedPublisher(talk, [g for both in zip(near, far, strict=True) for g in both], RATE)
        pace.start()
        await asyncio.sleep(1.0)
        calm = time.monotonic()
        await asyncio.sleep(before)
        start = running.positions.ends(running.settings.queue_events)
        running.meter.start()
        talk.publish("hot", HOT, b"x" * 128)
        ends = await until_routed(
            running.settings, start, delivered("hot"), members, PATIENCE_SECONDS
        )
        done = await asyncio.to_thread(running.positions.until_folded, QUEUES, ends)
        usage = running.meter.read()
        await pace.stop()
        began = talk.confirmed["hot"]
        calm_end = talk.sent["hot"]
        in_near = set(near).__contains__
        in_far = set(far).__contains__
        return [
            Measurement("one message to all of the large group", done - began, "s"),
            Measurement("its deliveries", members / (done - began), "/s"),
            Measurement("worker CPU per delivery", usage.cpu[WORKER] * 1e6 / members, "µs"),
            *talk.samples(calm, calm_end, "other groups before: ", pace.to(in_far)),
            *talk.samples(calm_end, done, "other groups meanwhile: ", pace.to(in_far)),
            *talk.samples(calm_end, done, "its partition meanwhile: ", pace.to(in_near)),
            *usage.samples("meanwhile: "),
        ]
