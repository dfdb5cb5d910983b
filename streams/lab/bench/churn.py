"""Binds and unbinds per second, both tables caught up."""

from __future__ import annotations

import random
from collections import Counter

from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness, Drained, RunningSystem
from streams.lab.bench.producing import changes
from streams.lab.workload.population import Names, Population, World

WHAT = (
    "From binds that Kafka has confirmed in group-events to their rows in `queues`, the last "
    "table; then the same for their unbinds. Groups have the measured sizes, and events come in "
    "random order. All events are written before the clock starts. CPU time includes the last "
    "checkpoints."
)
BIND, UNBIND = "Bind", "Unbind"


def memberships(count: int, tag: str, seed: int = 1) -> list[tuple[str, str]]:
    """Return (group, queue) of about `count` memberships, in random order.

    Groups have the measured sizes and queues the measured number of groups.
    """
    world = World().times(count / World().memberships)
    population = Population.generate(world, seed)
    names = Names(tag)
    pairs = [
        (names.group(group), names.queue(resident))
        for group in range(population.groups)
        for resident in population.members(group)
    ]
    random.Random(seed).shuffle(pairs)
    return pairs


def warm_up(running: RunningSystem, count: int) -> None:
    """Bind and unbind, so that nothing that is measured happens for the first time."""
    pairs = memberships(count, "warm")
    running.settle(changes(BIND, pairs))
    running.settle(changes(UNBIND, pairs))


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    options = harness.options
    pairs = memberships(options.size(629_637, 30_000), "c")
    with harness.system() as running:
        warm_up(running, options.size(50_000, 5_000))
        bound = running.drain(changes(BIND, pairs))
        running.expect(Counter(queue for _, queue in pairs), "groups")
        random.Random(2).shuffle(pairs)
        unbound = running.drain(changes(UNBIND, pairs))
        running.expect(dict.fromkeys((queue for _, queue in pairs), 0), "groups")
    return samples(bound, unbound)


def samples(bound: Drained, unbound: Drained) -> list[Measurement]:
    """Return the figures of a run."""
    events = bound.events + unbound.events
    return [
        Measurement("binds + unbinds", events / (bound.seconds + unbound.seconds), "/s"),
        Measurement("binds", bound.events / bound.seconds, "/s"),
        Measurement("unbinds", unbound.events / unbound.seconds, "/s"),
        *bound.micros("bind"),
        *unbound.micros("unbind"),
        *bound.usage.samples("while binding: "),
    ]


def measure_stock(harness: BenchHarness) -> list[Measurement]:
    """Measure one run of the baseline."""
    from streams.lab.bench.baseline import StockSystem

    pairs = memberships(harness.options.size(20_000, 4_000), "c")
    with harness.stock() as started:
        stock = StockSystem(*started)
        stock.warm_up()
        bound = stock.drain(changes(BIND, pairs), len(pairs))
        unbound = stock.drain(changes(UNBIND, pairs), len(pairs))
    return samples(bound, unbound)
