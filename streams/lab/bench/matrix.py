"""Messages, deliveries and latency at bodies from one byte to 128 KiB."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from streams.lab.bench import fanout
from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness, Drained, RunningSystem
from streams.lab.bench.messaging import GatewayApi, LatencyProbe, PacedPublisher
from streams.lab.bench.producing import changes

WHAT = (
    "For bodies of 1 B, 128 B, 1 KiB and 128 KiB: messages and deliveries per second, as in "
    "`fanout`; and the time from a publish over HTTP to a reader's long poll, at {rate} messages "
    "a second (128 KiB: {large_rate}) to groups of 41 with one reader each, with no other load."
)
BODIES: Final = {"1 B": 1, "128 B": 128, "1 KiB": 1024, "128 KiB": 128 * 1024}
RATE: Final = 50
LARGE_RATE: Final = 5
GROUPS: Final = 100
MOST_BYTES: Final = 768 * 2**20
"""Of all inboxes together, in one run."""


def messages_of(size: int, wanted: int) -> int:
    """Return how many messages of a size to send: at most `wanted`, within the byte limit."""
    return max(20, min(wanted, MOST_BYTES // (size * fanout.MEMBERS)))


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    samples: list[Measurement] = []
    options = harness.options
    for name, size in BODIES.items():
        count = messages_of(size, options.size(20_000, 500 if size < 2**16 else 40))
        rate = RATE if size < 2**16 else LARGE_RATE
        with harness.system() as running:
            talked = _latencies(running, name, b"x" * size, rate, options.size(30, 6))
            drained = fanout.run(running, options.size(1_000, 100), count, b"x" * size)
        samples += [*_rates(name, size, drained), *talked]
    return samples


def measure_stock(harness: BenchHarness) -> list[Measurement]:
    """Measure one run of the baseline."""
    samples: list[Measurement] = []
    for name, size in BODIES.items():
        count = messages_of(size, harness.options.size(400, 20))
        samples += _rates(name, size, fanout.run_stock(harness, 50, count, b"x" * size))
    return samples


def _rates(name: str, size: int, drained: Drained) -> list[Measurement]:
    deliveries = drained.events * fanout.MEMBERS / drained.seconds
    return [
        Measurement(f"{name}: messages", drained.events / drained.seconds, "/s"),
        Measurement(f"{name}: deliveries", deliveries, "/s", "deliveries", size),
        Measurement(
            f"{name}: worker CPU per delivery", drained.worker_micros / fanout.MEMBERS, "µs"
        ),
    ]


def _latencies(
    running: RunningSystem, name: str, body: bytes, rate: float, seconds: float
) -> list[Measurement]:
    """Publish at an even pace, each message to the next group; each group has one reader."""
    pairs = list(fanout.bindings(GROUPS, "l"))
    readers = dict(pairs)
    running.settle(changes("Bind", pairs))
    way = GatewayApi(running.positions.look().owners, running.settings.partitions)

    async def play() -> list[Measurement]:
        async with LatencyProbe(way) as talk:
            await talk.listen(set(readers.values()))
            pace = PacedPublisher(talk, list(readers), rate, body)
            pace.start()
            await asyncio.sleep(1.0)  # the first second is the warm-up
            since = time.monotonic()
            await asyncio.sleep(seconds)
            await pace.stop()
            return talk.samples(since, prefix=f"{name}: ")

    return asyncio.run(play())
