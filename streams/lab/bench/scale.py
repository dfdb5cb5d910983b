"""Churn, memory and disk as the number of queues grows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.lab.bench.churn import warm_up
from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness, RunningSystem
from streams.lab.bench.producing import changes
from streams.lab.bench.usage import BROKER, WORKER, PeakMemory, disk_bytes
from streams.operate.progress import progress, say

WHAT = (
    "The number of queues grows tenfold in each step; each queue is bound to two groups (or "
    "--bindings) of about five. After each step, reported at once: binds and unbinds of random "
    "queues and groups, as in `churn`; the peak resident memory of the workers since the last "
    "step; the size of the tables and of the broker's logs on disk."
)
FIRST: Final = 10_000
GROUP_SIZE: Final = 4.8
PRIME: Final = 2_654_435_761


def steps(most: int) -> list[int]:
    """Return the numbers of queues to stop at: 10,000 and ten times as many each time."""
    found = [FIRST]
    while found[-1] < most:
        found.append(min(found[-1] * 10, most))
    return found


@dataclass(frozen=True, slots=True)
class BindingLayout:
    """The groups of each queue; repeated calls give the same result."""

    groups: int
    """Number of groups, fixed from the start: bindings never move, groups grow with the queues."""
    each: int
    """Number of groups per queue."""

    @classmethod
    def of(cls, queues: int, each: int) -> BindingLayout:
        """Return the layout whose groups reach `GROUP_SIZE` with this many queues."""
        return cls(round(queues * each / GROUP_SIZE), each)

    def groups_of(self, queue: int) -> list[int]:
        """Return the distinct groups of a queue, scattered over all groups."""
        stride = 1 + queue % (self.groups // self.each - 1)
        return [(queue * PRIME + stride * n) % self.groups for n in range(self.each)]

    def bindings(self, first: int, last: int) -> Iterator[tuple[str, str]]:
        """Yield (group, queue) of the queues from `first` up to, not including, `last`."""
        for queue in range(first, last):
            for group in self.groups_of(queue):
                yield f"g{group}", f"q{queue}"


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure the only run: it takes long."""
    options = harness.options
    samples: list[Measurement] = []
    world = BindingLayout.of(options.queues, options.bindings)
    with harness.system() as running:
        warm_up(running, options.size(50_000, 5_000))
        before = 0
        for queues in steps(options.queues):
            with PeakMemory(running.meter, WORKER) as peak:
                rate = _load(running, before, queues, world)
                changes_per_second = _churn(running, queues, world, options.size(200_000, 5_000))
            before = queues
            found = [
                _at(queues, "churn", changes_per_second, "/s"),
                _at(queues, "load", rate, "/s"),
                _at(queues, "resident memory", peak.bytes / 2**20, "MiB"),
                _at(queues, "tables on disk", disk_bytes(running.data) / 2**20, "MiB"),
            ]
            if harness.broker is not None:
                log = disk_bytes(harness.broker.data) / 2**20
                memory = running.meter.resident_bytes(BROKER) / 2**20
                found.append(_at(queues, "broker's logs on disk", log, "MiB"))
                found.append(_at(queues, "broker's resident memory", memory, "MiB"))
            for sample in found:  # the next step may take an hour
                say(f"{sample.name}: {sample.value:,.0f} {sample.unit}")
            samples += found
    rates = [sample.value for sample in samples if sample.line == "churn"]
    if len(rates) > 1:
        at_100_000 = rates[min(1, len(rates) - 1)]
        share = 100 * rates[-1] / at_100_000
        samples.append(
            Measurement("churn at the most queues, of that at the second step", share, "%")
        )
    return samples


def _at(queues: int, line: str, value: float, unit: str) -> Measurement:
    return Measurement(f"{line} at {queues:,} queues", value, unit, line, queues)


def _load(running: RunningSystem, first: int, last: int, world: BindingLayout) -> float:
    """Add queues; return binds per second, with producer and workers running concurrently."""
    with progress(f"adding queues, up to {last:,}"):
        running.meter.start()
        count = running.feed(changes("Bind", world.bindings(first, last)))
        running.positions.until_readable()
        seconds = running.meter.read().seconds
        running.positions.until_quiet()
    return count / seconds


def _churn(running: RunningSystem, queues: int, world: BindingLayout, count: int) -> float:
    """Bind random queues to random groups, and undo it; return changes per second."""
    rng = random.Random(queues)
    pairs = {(f"g{rng.randrange(world.groups)}", f"q{rng.randrange(queues)}") for _ in range(count)}
    # not the permanent bindings: they must remain
    pairs -= {
        (f"g{group}", queue) for _, queue in pairs for group in world.groups_of(int(queue[1:]))
    }
    chosen = sorted(pairs)
    rng.shuffle(chosen)
    bound = running.drain(changes("Bind", chosen))
    rng.shuffle(chosen)
    unbound = running.drain(changes("Unbind", chosen))
    running.expect({queue: world.each for _, queue in chosen}, "groups")
    return (bound.events + unbound.events) / (bound.seconds + unbound.seconds)
