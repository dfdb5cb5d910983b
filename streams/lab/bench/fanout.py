"""Messages to groups of 41 members: deliveries per second into inboxes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness, Drained, RunningSystem
from streams.lab.bench.producing import changes, messages

WHAT = (
    "From messages that Kafka has confirmed in group-events to an inbox row for each of the 41 "
    "members of each group, with bodies of {body} bytes. All messages are written before the "
    "clock starts. Nobody reads or acks, so every row goes through the checkpoints."
)
MEMBERS = 41
BODY = 128


def bindings(groups: int, tag: str = "f") -> Iterator[tuple[str, str]]:
    """Yield (group, queue) of groups of 41 members, each queue in about nine groups.

    The groups are called by the tag and a number from 0.
    """
    queues = max(MEMBERS, groups * MEMBERS // 9)
    for group in range(groups):
        for member in range(MEMBERS):
            yield f"{tag}{group}", f"{tag}q{(group * 9973 + member) % queues}"


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    size = harness.options.size
    with harness.system() as running:
        return samples(run(running, size(2_000, 200), size(30_000, 1_000), b"x" * BODY))


def run(running: RunningSystem, groups: int, count: int, body: bytes) -> Drained:
    """Send `count` messages to groups, one after the other."""
    pairs = list(bindings(groups))
    names = [f"f{number}" for number in range(groups)]
    running.settle(changes("Bind", pairs))
    warm = names[: max(1, groups // 10)]
    running.settle(messages(warm, "warm", body))
    sent = list(itertools.islice(itertools.cycle(names), count))
    drained = running.drain(messages(sent, "m", body))
    per_group = Counter(itertools.chain(warm, sent))
    wanted: Counter[str] = Counter()
    for group, queue in pairs:
        wanted[queue] += per_group[group]
    running.expect(wanted, "depth")
    return drained


def samples(drained: Drained) -> list[Measurement]:
    """Return the figures of a run."""
    deliveries = drained.events * MEMBERS
    return [
        Measurement("deliveries", deliveries / drained.seconds, "/s"),
        Measurement("messages", drained.events / drained.seconds, "/s"),
        *drained.micros("delivery", MEMBERS),
        *drained.usage.samples(),
    ]


def measure_stock(harness: BenchHarness) -> list[Measurement]:
    """Measure one run of the baseline."""
    size = harness.options.size
    return samples(run_stock(harness, size(200, 50), size(1_000, 200), b"x" * BODY))


def run_stock(harness: BenchHarness, groups: int, count: int, body: bytes) -> Drained:
    """Send messages through the baseline, as `run` does."""
    from streams.lab.bench.baseline import StockSystem

    pairs = list(bindings(groups))
    names = itertools.cycle([f"f{number}" for number in range(groups)])
    with harness.stock() as started:
        stock = StockSystem(*started)
        stock.warm_up()
        stock.feed(changes("Bind", pairs), len(pairs))
        return stock.drain(messages(itertools.islice(names, count), "m", body), count * MEMBERS)
