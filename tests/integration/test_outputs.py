"""Outputs of folds arrive completely and in order, whether sent at once or paced."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.engine.output import DeliveryTracker, OutputProducer
from streams.engine.pacing import BURST, SendPacer
from streams.errors import Unavailable
from streams.fold import Output
from streams.kafka.topics import ensure_topics
from streams.settings import Settings
from streams.topics import product_topics

MANY = 4 * BURST
PATIENCE = 240.0


@pytest.fixture
def outputs(settings: Settings) -> Iterator[OutputProducer]:
    ensure_topics(settings.librdkafka(), product_topics(settings))
    producer = OutputProducer(settings.librdkafka())
    yield producer
    producer.close(5.0)


def some(settings: Settings, first: int, count: int) -> list[Output]:
    """Return numbered outputs, alternating between two partitions."""
    return [
        Output(settings.group_events, number % 2, b"g", b"%d" % number, "Bind")
        for number in range(first, first + count)
    ]


def arrived(settings: Settings) -> list[list[int]]:
    """Return the numbers in each of the two partitions, in order."""
    consumer = Consumer({**settings.librdkafka(), "group.id": "test", "enable.auto.commit": False})
    try:
        found = []
        for number in range(2):
            place = TopicPartition(settings.group_events, number, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=PATIENCE)
            consumer.assign([place])
            values: list[int] = []
            while len(values) < end:
                messages = consumer.consume(end - len(values), timeout=PATIENCE)
                assert messages, "nothing came"
                values += [int(message.value() or b"") for message in messages]
            found.append(values)
        return found
    finally:
        consumer.close()


async def test_a_tracker_settles_when_kafka_has_everything(
    settings: Settings, outputs: OutputProducer
) -> None:
    # Given outputs to two partitions, few of them with a delivery report
    tracker = DeliveryTracker(asyncio.get_running_loop())
    await outputs.send(some(settings, 0, MANY), tracker)
    assert tracker.sent == MANY
    assert tracker.reports == 2
    # When the tracker is settled
    await asyncio.wait_for(tracker.settled(), PATIENCE)
    # Then all are there, in order
    assert arrived(settings) == [list(range(0, MANY, 2)), list(range(1, MANY, 2))]


async def test_paced_outputs_keep_their_order(settings: Settings, outputs: OutputProducer) -> None:
    # Given more outputs than are sent at once, then a few of another tracker
    loop = asyncio.get_running_loop()
    pacer = SendPacer(loop, outputs, lambda: 0)
    many, few = DeliveryTracker(loop), DeliveryTracker(loop)
    pacer.send(some(settings, 0, MANY), many)
    pacer.send(some(settings, MANY, 3), few)
    assert 0 < pacer.waiting() <= MANY + 3 - BURST
    # When the few are settled
    await asyncio.wait_for(few.settled(), PATIENCE)
    # Then nothing waits, and all are there in order
    assert pacer.waiting() == 0
    await asyncio.wait_for(many.settled(), PATIENCE)
    assert arrived(settings) == [list(range(0, MANY + 3, 2)), list(range(1, MANY + 3, 2))]


async def test_a_closed_partition_sends_nothing_more(
    settings: Settings, outputs: OutputProducer
) -> None:
    # Given outputs of two partitions that wait
    loop = asyncio.get_running_loop()
    pacer = SendPacer(loop, outputs, lambda: 0)
    closed, other = DeliveryTracker(loop), DeliveryTracker(loop)
    pacer.send(some(settings, 0, MANY), closed)
    pacer.send(some(settings, MANY, 2), other)
    # When one is closed
    closed.dropped = True
    # Then it has sent a prefix of its outputs, and the other partition's all arrive
    await asyncio.wait_for(other.settled(), PATIENCE)
    await asyncio.wait_for(closed.settled(), PATIENCE)
    even, odd = arrived(settings)
    assert (even[-1], odd[-1]) == (MANY, MANY + 1)
    assert BURST <= len(even) + len(odd) - 2 < MANY
    assert even[:-1] == list(range(0, 2 * len(even) - 2, 2))
    assert odd[:-1] == list(range(1, 2 * len(odd) - 2, 2))


async def test_a_refused_output_fails_the_producer_even_without_a_delivery_report(
    settings: Settings, outputs: OutputProducer
) -> None:
    # Given a topic with a lower size limit than the producer has
    admin = AdminClient(settings.librdkafka())
    topic = f"{settings.namespace}.narrow"
    limit = {"max.message.bytes": "2000"}
    admin.create_topics([NewTopic(topic, 1, 1, config=limit)])[topic].result(PATIENCE)
    tracker = DeliveryTracker(asyncio.get_running_loop())
    # When Kafka refuses one of three outputs that has no delivery report
    values = [b"small", os.urandom(100_000), b"last"]
    await outputs.send([Output(topic, 0, b"k", value, "Bind") for value in values], tracker)
    # Then no checkpoint follows, and the producer has failed for good, which ends the worker
    with pytest.raises(Unavailable, match="too large"):
        await asyncio.wait_for(tracker.settled(), PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while outputs.fatal is None:
        assert time.monotonic() < deadline, "the producer goes on"
        await asyncio.sleep(0.01)
    assert "gap-less" in outputs.fatal.str()
