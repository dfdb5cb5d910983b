"""The reader of source topics, on a real Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from confluent_kafka import TopicPartition

from streams.engine.output import DeliveryTracker, OutputProducer
from streams.engine.source import Chunk, SourceReader
from streams.fold import Output
from streams.kafka.topics import ensure_topics
from streams.settings import Settings
from streams.topics import product_topics

RECORDS = 500
PATIENCE = 240.0


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def test_a_partition_that_was_paused_is_read_again(settings: Settings) -> None:
    asyncio.run(_read_again(settings))


async def _read_again(settings: Settings) -> None:
    # Given a reader that has paused a partition because nothing is folded
    ensure_topics(settings.librdkafka(), product_topics(settings))
    topic = settings.group_events
    producer = OutputProducer(settings.librdkafka())
    tracker = DeliveryTracker(asyncio.get_running_loop())
    records = [Output(topic, 0, b"g", b"%d" % number, "Bind") for number in range(RECORDS)]
    await producer.send(records, tracker)
    await tracker.settled()
    chunks: list[Chunk] = []
    reader = SourceReader(
        settings.librdkafka(),
        "test",
        asyncio.get_running_loop(),
        chunks.extend,
        chunk_records=50,
        chunk_bytes=1 << 20,
        backlog_records=100,
    )
    try:
        reader.assign((topic, 0), 0, 1)
        await _until(lambda: (topic, 0) in reader._paused, "it was not paused")
        # When it is assigned from the beginning, as after a rebalance
        chunks.clear()
        reader.assign((topic, 0), 0, 2)
        # Then everything arrives, as fast as it is folded
        read: list[bytes | None] = []
        deadline = time.monotonic() + PATIENCE
        while len(read) < RECORDS:
            assert time.monotonic() < deadline, f"only {len(read)} records came"
            for chunk in chunks:
                if chunk.epoch == 2:
                    read += [record.value for record in chunk.records]
                    reader.done(chunk)
            chunks.clear()
            await asyncio.sleep(0.01)
        assert read == [record.value for record in records]
        assert reader.end((topic, 0)) == RECORDS
    finally:
        await asyncio.to_thread(reader.close)
        await asyncio.to_thread(producer.close, 5.0)


def test_a_client_that_delivers_nothing_is_replaced(settings: Settings) -> None:
    asyncio.run(_replaced(settings))


async def _replaced(settings: Settings) -> None:
    # Given a reader whose client has delivered some records, and then fetches no more
    ensure_topics(settings.librdkafka(), product_topics(settings))
    topic = settings.group_events
    producer = OutputProducer(settings.librdkafka())
    read: list[bytes | None] = []

    def deliver(chunks: list[Chunk]) -> None:
        for chunk in chunks:
            read.extend(record.value for record in chunk.records)
            reader.done(chunk)

    async def send(numbers: range) -> None:
        tracker = DeliveryTracker(asyncio.get_running_loop())
        await producer.send(
            [Output(topic, 0, b"g", b"%d" % number, "Bind") for number in numbers], tracker
        )
        await tracker.settled()

    await send(range(100))
    reader = SourceReader(
        settings.librdkafka(),
        "test",
        asyncio.get_running_loop(),
        deliver,
        chunk_records=50,
        chunk_bytes=1 << 20,
    )
    try:
        reader.assign((topic, 0), 0, 1)
        await _until(lambda: len(read) == 100, "the first records did not come")
        reader._consumer.pause([TopicPartition(topic, 0)])
        await send(range(100, 200))
        # When it gets a new client
        reader.renew()
        # Then each record comes once
        await _until(lambda: len(read) >= 200, "the other records did not come")
        assert read == [b"%d" % number for number in range(200)]
    finally:
        await asyncio.to_thread(reader.close)
        await asyncio.to_thread(producer.close, 5.0)
