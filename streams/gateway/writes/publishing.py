"""Publishing for HTTP clients, who can then read what they wrote.

Remembers the highest confirmed offset of each partition, for reads to wait for.  Knows topics
and offsets, not what the records mean.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from streams.errors import Unavailable
from streams.gateway.metrics.registry import Metrics
from streams.gateway.ports import Engine, RecordMetadata, RecordToSend


class Publishing:
    """Sends records through the engine's publisher."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._confirmed: dict[tuple[str, int], int] = {}

    async def publish(self, record: RecordToSend) -> RecordMetadata:
        """Append one record; returns once Kafka has confirmed it.

        Shielded from cancellation: a client that disconnects does not stop the record.

        Raises:
            Unavailable: not confirmed.
            TooLarge: not sent.
        """
        return await asyncio.shield(self.start(record))

    async def publish_many(self, records: list[RecordToSend]) -> list[RecordMetadata]:
        """Append records; returns their metadata, in order, once Kafka has confirmed all.

        Raises as `publish`.
        """
        if len(records) == 1:
            return [await self.publish(records[0])]
        began = time.perf_counter()
        try:
            metadata = await asyncio.shield(self._send(records))
        except Unavailable:
            self._metrics.publishes_failed.inc(len(records))
            raise
        self._metrics.publish_seconds.observe(time.perf_counter() - began)
        for kind, count in Counter(record.type for record in records).items():
            self._metrics.publishes.labels(kind).inc(count)
        return metadata

    def start(self, record: RecordToSend) -> asyncio.Future[RecordMetadata]:
        """Start appending one record, ahead of any that is started later.

        Raises as `publish`, either at once or from the future.
        """
        began = time.perf_counter()
        topic, key, value, kind = record[:4]

        def ended(future: asyncio.Future[RecordMetadata]) -> None:
            if future.cancelled() or future.exception() is not None:
                self._metrics.publishes_failed.inc()
                return
            self._note(topic, *future.result())
            self._metrics.publish_seconds.observe(time.perf_counter() - began)
            self._metrics.publishes.labels(kind).inc()

        future = asyncio.ensure_future(self._engine.publisher.publish(topic, key, value, kind))
        future.add_done_callback(ended)
        return future

    async def _send(self, records: list[RecordToSend]) -> list[RecordMetadata]:
        metadata = await self._engine.publisher.publish_many([record[:4] for record in records])
        for record, (partition, offset) in zip(records, metadata, strict=True):
            self._note(record.topic, partition, offset)
        return metadata

    def _note(self, topic: str, partition: int, offset: int) -> None:
        if offset > self._confirmed.get((topic, partition), -1):
            self._confirmed[topic, partition] = offset

    def confirmed(self, topic: str, partition: int) -> int:
        """Return the highest offset that Kafka has confirmed to this gateway; -1 if none."""
        return self._confirmed.get((topic, partition), -1)
