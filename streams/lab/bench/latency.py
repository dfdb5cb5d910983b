"""Latency from publish to reader, at four times the measured load and churn."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

from streams.lab.bench.baseline import StockApi, StockSystem
from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness
from streams.lab.bench.messaging import BODY, GatewayApi, LatencyProbe, MessagingApi
from streams.lab.bench.producing import EventProducer, change, changes
from streams.lab.bench.usage import Meter
from streams.lab.workload.population import MEASURED, Names, Population, World
from streams.lab.workload.traffic import MemberJoined, MessageSent, Traffic, TrafficEvent
from streams.settings import Settings

WHAT = (
    "Time from the HTTP request that publishes a message to its confirmation, and to the answer "
    "of a reader's long poll, with four times the measured population, churn and messages. Up to "
    "{readers} of the queues that get the most messages read and ack. The baseline runs with the "
    "measured rates, a quarter of these, and {share:.0%} of the measured population, because it "
    "cannot handle more."
)
SCALE: Final = 4.0
READERS: Final = 1_000
STOCK_SHARE: Final = 0.02
WARM_SECONDS: Final = 10.0
TICK_SECONDS: Final = 0.002


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    options = harness.options
    rates = MEASURED.times(SCALE)
    population = Population.generate(MEASURED.times(STOCK_SHARE if options.quick else SCALE))
    with harness.system() as running:
        running.settle(changes("Bind", everybody(population)))
        way = GatewayApi(running.positions.look().owners, running.settings.partitions)
        seconds = options.size(60, 10)
        play = TrafficReplay(running.settings, population, rates, seconds, running.meter)
        return asyncio.run(play.play(way, running.feeder))


def measure_stock(harness: BenchHarness) -> list[Measurement]:
    """Measure one run of the baseline."""
    population = Population.generate(MEASURED.times(STOCK_SHARE / harness.options.size(1, 4)))
    with harness.stock() as started:
        stock = StockSystem(*started)
        stock.warm_up()
        stock.feed(changes("Bind", everybody(population)), population.memberships)
        settings, worker, meter = started
        seconds = harness.options.size(60, 10)
        play = TrafficReplay(settings, population, MEASURED, seconds, meter)
        way = StockApi(worker.url, settings.partitions)
        return asyncio.run(play.play(way, EventProducer(settings)))


NAMES: Final = Names("l")


def everybody(population: Population) -> Iterator[tuple[str, str]]:
    """Yield (group, queue) of all memberships."""
    for group in range(population.groups):
        for resident in population.members(group):
            yield NAMES.group(group), NAMES.queue(resident)


def choose_readers(population: Population, said: Iterable[MessageSent], limit: int) -> list[str]:
    """Choose the residents that receive most, until there are two deliveries per message.

    More readers would add load of their own; `limit` may cut the choice short.
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


class TrafficReplay:
    """Replays traffic in real time and measures latencies."""

    def __init__(
        self,
        settings: Settings,
        population: Population,
        rates: World,
        seconds: float,
        meter: Meter,
    ) -> None:
        traffic = Traffic(population, rates).events()
        end = WARM_SECONDS + seconds
        self._events: list[TrafficEvent] = list(takewhile(lambda h: h.at < end, traffic))
        said = [h for h in self._events if isinstance(h, MessageSent)]
        self._readers = choose_readers(population, said, READERS)
        self._topic = settings.group_events
        self._meter = meter
        self._behind = 0.0

    async def play(self, way: MessagingApi, feeder: EventProducer) -> list[Measurement]:
        """Replay the traffic; return the latencies."""
        async with LatencyProbe(way) as talk:
            await talk.listen(self._readers)
            began = time.monotonic()
            measured = began + WARM_SECONDS
            metering = False
            for number, event in enumerate(self._events):
                due = began + event.at
                left = due - time.monotonic()
                if left > 0:
                    await asyncio.sleep(max(left, TICK_SECONDS))
                if not metering and due >= measured:
                    self._meter.start()
                    metering = True
                if metering:
                    self._behind = max(self._behind, time.monotonic() - due)
                self._do(number, event, talk, feeder)
            usage = self._meter.read()
            feeder.flush()
            await talk.arrived(lambda: True)
            await asyncio.sleep(1.0)
            talk.check()
            counted = sum(1 for a in talk.arrivals if talk.sent.get(a.message, 0.0) >= measured)
            return [
                *talk.samples(since=measured),
                *usage.samples(),
                Measurement("messages read", counted / usage.seconds, "/s"),
                Measurement("publisher behind its schedule, at worst", self._behind * 1000, "ms"),
            ]

    def _do(
        self, number: int, event: TrafficEvent, talk: LatencyProbe, feeder: EventProducer
    ) -> None:
        group, queue = NAMES.group(event.group), NAMES.queue(event.resident)
        if isinstance(event, MessageSent):
            talk.publish(f"l-{number}", group, BODY)
        else:
            kind = "Bind" if isinstance(event, MemberJoined) else "Unbind"
            feeder.send(self._topic, change(kind, group, queue))
