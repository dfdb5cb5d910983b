"""The reader of source topics, on a real Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

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
