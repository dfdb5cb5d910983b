"""The limit of the broker and a bare librdkafka client, with nothing in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import TopicPartition

from streams.errors import Unavailable
from streams.kafka.clients import open_reader
from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness
from streams.lab.bench.producing import EncodedEvent, EventProducer, changes
from streams.lab.bench.usage import Meter
from streams.settings import Settings

WHAT = (
    "No Streams at all: one process writes encoded binds to a topic of the same kind until Kafka "
    "has confirmed them, reads them, and copies them to another topic; then the same with "
    "records of 64 KiB. No stage of any system can be faster on this machine."
)
BATCH: Final = 5_000
LARGE: Final = 64 * 1024
PATIENCE_SECONDS: Final = 20.0


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    size = harness.options.size
    small = list(changes("Bind", [(f"g{n}", f"r{n}") for n in range(size(1_000_000, 50_000))]))
    value = b"x" * LARGE
    large = [EncodedEvent(b"%d" % number, value, "Message") for number in range(size(8_000, 500))]
    samples: list[Measurement] = []
    with harness.topics() as settings:
        meter = harness.meter([])
        EventProducer(settings).feed(settings.group_events, small[:10_000])  # warms the broker up
        samples += _produce_and_consume(settings, settings.queue_events, small, meter)
    with harness.topics() as settings:
        meter = harness.meter([])
        megabytes = len(large) * LARGE / 2**20
        seconds = _timed(lambda: EventProducer(settings).feed(settings.queue_events, large))
        samples.append(Measurement("produced, 64 KiB a record", megabytes / seconds, "MiB/s"))
        seconds = _timed(lambda: _consume(settings, settings.queue_events, len(large)))
        samples.append(Measurement("consumed, 64 KiB a record", megabytes / seconds, "MiB/s"))
    return samples


def _produce_and_consume(
    settings: Settings, topic: str, events: list[EncodedEvent], meter: Meter
) -> list[Measurement]:
    count = len(events)
    feeder = EventProducer(settings)
    meter.start()
    produced = _timed(lambda: feeder.feed(topic, events))
    producing = meter.read()
    meter.start()
    consumed = _timed(lambda: _consume(settings, topic, count))
    consuming = meter.read()

    def copy(key: bytes, value: bytes) -> None:
        feeder.send(settings.dead_letters, EncodedEvent(key, value, "Bind"))

    def copy_all() -> None:
        _consume(settings, topic, count, copy)
        feeder.flush()

    copied = _timed(copy_all)
    return [
        Measurement("binds produced", count / produced, "/s"),
        Measurement("binds consumed", count / consumed, "/s"),
        Measurement("binds copied", count / copied, "/s"),
        *producing.samples("producing: "),
        *consuming.samples("consuming: "),
    ]


def _consume(
    settings: Settings,
    topic: str,
    count: int,
    take: Callable[[bytes, bytes], None] | None = None,
) -> None:
    """Read `count` records, access key and value of each, and pass them to `take`."""
    consumer = open_reader(settings.librdkafka(), f"{settings.app_id}-ceiling", {"log_level": 0})
    try:
        consumer.assign([TopicPartition(topic, n, 0) for n in range(settings.partitions)])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while count > 0:
            for message in consumer.consume(BATCH, 0.1):
                if message.error() is not None:
                    continue
                key, value = message.key(), message.value()
                if take is not None and isinstance(key, bytes) and isinstance(value, bytes):
                    take(key, value)
                count -= 1
                deadline = time.monotonic() + PATIENCE_SECONDS
            if time.monotonic() > deadline:
                raise Unavailable(f"{count:,} records do not come")
    finally:
        consumer.close()


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
