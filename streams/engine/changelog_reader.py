"""Reads the changelog of a table partition: what restores its rows on another worker.

A reader sees whole checkpoints only; see `streams.engine.changelog`, which writes them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.engine.database import Database
from streams.kafka.clients import open_reader
from streams.repeats import REPEATING

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """Consecutive messages of one changelog partition."""

    next_offset: int
    """The changelog offset after them."""
    written_at: int
    """Log time of the last one, in ms."""
    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    at_end: bool = False
    """Whether the changelog ended after them when they were read."""

    def apply(self, database: Database, topic_id: bytes) -> None:
        """Write the rows to their database, which has everything before them.

        Rows that nothing follows are current now, however old they are.  Others are as old
        as the last of them: tombstones that followed it may be gone when they are read.
        """
        if not (self.rows or self.at_end or self.next_offset > database.next_offset):
            return
        now = int(time.time() * 1000)
        as_of = now if self.at_end else min(now, self.written_at)
        next_offset = max(self.next_offset, database.next_offset)
        database.write(self.rows, next_offset, as_of, topic_id)


def batches(messages: Iterable[Any]) -> dict[tuple[str, int], Batch]:
    """Sort consumed messages by changelog topic and partition.

    The consumer must report ends of partitions (`enable.partition.eof`).

    Raises:
        KafkaException: the consumer has failed for good.
    """
    found: dict[tuple[str, int], Batch] = {}
    for message in messages:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            if error.fatal():
                raise KafkaException(error)
            logger.info("changelog reader: %s; the client retries", error.str(), extra=REPEATING)
            continue
        source = (message.topic(), message.partition())
        batch = found.get(source)
        if batch is None:
            batch = found[source] = Batch(0, 0)
        batch.at_end = error is not None
        if batch.at_end:
            # Past control records, too: they take offsets but are never delivered.
            batch.next_offset = message.offset()
            continue
        key = message.key()
        if key is not None:
            batch.rows.append((key, message.value()))
        batch.next_offset = message.offset() + 1
        batch.written_at = message.timestamp()[1]
    return found


class ChangelogReader:
    """Restores the database of one partition from its changelog; used by one thread."""

    BATCH = 5_000

    def __init__(
        self,
        topic: str,
        partition: int,
        client: Mapping[str, Any],
        database: Database,
        topic_id: bytes,
    ) -> None:
        self._database = database
        self._topic_id = topic_id
        self._consumer = open_reader(
            client,
            f"restore-{topic}",
            {
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.min.messages": 20_000,
                "queued.max.messages.kbytes": 16_384,
                "fetch.wait.max.ms": 200,
            },
        )
        self._consumer.assign([TopicPartition(topic, partition, database.next_offset)])

    def read(self, timeout: float) -> tuple[int, bool]:
        """Apply what arrives within `timeout` seconds, at most one batch.

        Returns:
            the number of rows applied, and whether the end of the changelog was reached.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            return 0, False
        count, at_end = 0, False
        for batch in batches([first, *self._consumer.consume(self.BATCH, 0)]).values():
            batch.apply(self._database, self._topic_id)
            count, at_end = len(batch.rows), batch.at_end
        return count, at_end

    def close(self) -> None:
        """Release sockets and threads."""
        self._consumer.close()
