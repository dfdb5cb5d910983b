"""From publish to reader at four times the measured load, with the churn that goes with it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

from streams.lab.bench.baseline import StockSystem, ThroughPages
from streams.lab.bench.feeding import Feeder, change, changes
from streams.lab.bench.figures import Sample
from streams.lab.bench.stage import Stage
from streams.lab.bench.talking import BODY, OverHttp, Talk, Way
from streams.lab.bench.usage import Meter
from streams.lab.workload.population import MEASURED, Names, Population, World
from streams.lab.workload.traffic import Happening, Joined, Said, Traffic
from streams.settings import Settings

WHAT = (
    "From the HTTP request that publishes a message, and from there to its confirmation, to the "
    "answer of a long poll that one of its readers waits at, with four times the measured "
    "population, churn and messages; up to {readers} of those who get most of them read and ack. "
    "The baseline has the measured rates, a quarter of that, and "
    "{share:.0%} of the measured population: it cannot do with more."
)
SCALE: Final = 4.0
READERS: Final = 1_000
STOCK_SHARE: Final = 0.02
WARM_SECONDS: Final = 10.0
TICK_SECONDS: Final = 0.002


def measure(stage: Stage) -> list[Sample]:
    """Measure one run."""
    options = stage.options
    rates = MEASURED.times(SCALE)
    population = Population.generate(MEASURED.times(STOCK_SHARE if options.quick else SCALE))
    with stage.system() as running:
        running.settle(changes("Bind", everybody(population)))
        way = OverHttp(running.positions.look().owners, running.settings.partitions)
        seconds = options.size(60, 10)
        play = Play(running.settings, population, rates, seconds, running.meter)
        return asyncio.run(play.play(way, running.feeder))


def measure_stock(stage: Stage) -> list[Sample]:
    """Measure one run of the baseline."""
    population = Population.generate(MEASURED.times(STOCK_SHARE / stage.options.size(1, 4)))
    with stage.stock() as started:
        stock = StockSystem(*started)
        stock.warm_up()
        stock.feed(changes("Bind", everybody(population)), population.memberships)
        settings, worker, meter = started
        seconds = stage.options.size(60, 10)
        play = Play(settings, population, MEASURED, seconds, meter)
        way = ThroughPages(worker.url, settings.partitions)
        return asyncio.run(play.play(way, Feeder(settings)))


NAMES: Final = Names("l")


def everybody(population: Population) -> Iterator[tuple[str, str]]:
    """Yield (group, queue) of all memberships."""
    for group in range(population.groups):
        for resident in population.members(group):
            yield NAMES.group(group), NAMES.queue(resident)


def choose_readers(population: Population, said: Iterable[Said], limit: int) -> list[str]:
    """Choose residents, those first who are to get most, until there are two for each message.

    More would be a load of their own; there are fewer if the limit comes first.
    """
    messages = 0
    counts: Counter[int] = Counter()
    for message in said:
        messages += 1
        counts.update(population.members(message.group))
    chosen: list[str] = []
    arrivals = 0
    for resident, count in counts.most_common(limit):
        if arrivals >= 2 * messages:
            break
        arrivals += count
        chosen.append(NAMES.queue(resident))
    return chosen


class Play:
    """Plays traffic in real time and keeps the times."""

    def __init__(
        self,
        settings: Settings,
        population: Population,
        rates: World,
        seconds: float,
        meter: Meter,
    ) -> None:
        traffic = Traffic(population, rates).happenings()
        end = WARM_SECONDS + seconds
        self._happenings: list[Happening] = list(takewhile(lambda h: h.at < end, traffic))
        said = [h for h in self._happenings if isinstance(h, Said)]
        self._readers = choose_readers(population, said, READERS)
        self._topic = settings.group_events
        self._meter = meter
        self._behind = 0.0

    async def play(self, way: Way, feeder: Feeder) -> list[Sample]:
        """Play, and return how long messages took."""
        async with Talk(way) as talk:
            await talk.listen(self._readers)
            began = time.monotonic()
            measured = began + WARM_SECONDS
            metering = False
            for number, happening in enumerate(self._happenings):
                due = began + happening.at
                left = due - time.monotonic()
                if left > 0:
                    await asyncio.sleep(max(left, TICK_SECONDS))
                if not metering and due >= measured:
                    self._meter.start()
                    metering = True
                if metering:
                    self._behind = max(self._behind, time.monotonic() - due)
                self._do(number, happening, talk, feeder)
            usage = self._meter.read()
            feeder.flush()
            await talk.arrived(lambda: True)
            await asyncio.sleep(1.0)
            talk.check()
            counted = sum(1 for a in talk.arrivals if talk.sent.get(a.message, 0.0) >= measured)
            return [
                *talk.samples(since=measured),
                *usage.samples(),
                Sample("messages read", counted / usage.seconds, "/s"),
                Sample("publisher behind its schedule, at worst", self._behind * 1000, "ms"),
            ]

    def _do(self, number: int, happening: Happening, talk: Talk, feeder: Feeder) -> None:
        group, queue = NAMES.group(happening.group), NAMES.queue(happening.resident)
        if isinstance(happening, Said):
            talk.publish(f"l-{number}", group, BODY)
        else:
            kind = "Bind" if isinstance(happening, Joined) else "Unbind"
            feeder.send(self._topic, change(kind, group, queue))
