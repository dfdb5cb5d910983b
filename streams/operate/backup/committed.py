"""Reads partitions from one offset to another, whole batches at a time, without a gap."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.errors import Unavailable
from streams.kafka.clients import open_reader
from streams.kafka.errors import unavailable
from streams.kafka.watermarks import is_end, watermarks
from streams.operate.topic_log import as_bytes, is_record

PATIENCE_SECONDS: Final = 60.0
"""How long no record may arrive while some are missing."""
_BATCH: Final = 5_000
_ANSWER_SECONDS: Final = 30.0


class CommittedReader:
    """Reads the committed records of one topic; a context manager."""

    def __init__(self, client: Mapping[str, Any], topic: str) -> None:
        """Make a client; `client` is the configuration of brokers and security."""
        self._topic = topic
        self._brokers = str(client["bootstrap.servers"])
        self._consumer: Consumer = open_reader(
            client,
            f"export-{topic}",
            {
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.min.messages": 50_000,
                "queued.max.messages.kbytes": 32 * 1024,
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            },
        )

    def __enter__(self) -> CommittedReader:
        """Return the reader itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the client."""
        self._consumer.close()

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset of a partition, and the end of what is committed.

        The changelog of a table has one writer at a time, so that its committed part ends with
        a whole checkpoint.

        Raises:
            Unavailable: Kafka does not answer.
        """
        try:
            return watermarks(self._consumer, self._topic, partition, _ANSWER_SECONDS)
        except KafkaException as error:
            raise unavailable(f"the offsets of {self._topic}/{partition}", error) from error

    def read(
        self, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> Iterator[dict[int, list[Message]]]:
        """Yield batches of records by partition, in the order of each partition's log.

        Each partition is read from its start up to, not including, its end.  A broker that has
        just become the leader may report an earlier end: the rest is waited for.

        Raises:
            Unavailable: records are missing, and none arrive.
        """
        left = {number: ends[number] for number in starts if starts[number] < ends[number]}
        if not left:
            return
        self._consumer.assign([TopicPartition(self._topic, n, starts[n]) for n in left])
        heard = time.monotonic()
        while left:
            found: dict[int, list[Message]] = {}
            for message in self._consumer.consume(_BATCH, 0.2):
                heard = time.monotonic()
                self._take(message, left, found)
            if found:
                yield found
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE_SECONDS:
                raise Unavailable(
                    f"{self._topic}/{min(left)} does not get to offset {left[min(left)]}: records"
                    " are missing, or a transaction of another producer is open"
                )
        self._consumer.unassign()

    def firsts(self, partitions: Iterable[int]) -> dict[int, tuple[bytes | None, bytes | None]]:
        """Return key and value of each partition's first record; none for an empty partition.

        Raises:
            Unavailable: Kafka does not answer.
        """
        bounds = {number: self.bounds(number) for number in partitions}
        left = {number: low for number, (low, end) in bounds.items() if low < end}
        found: dict[int, tuple[bytes | None, bytes | None]] = {}
        for batch in self.read(left, {number: end for number, (_, end) in bounds.items()}):
            for number, messages in batch.items():
                first = messages[0]
                found.setdefault(number, (as_bytes(first.key()), as_bytes(first.value())))
            if len(found) == len(left):
                break
        return found

    def _take(
        self, message: Message, left: dict[int, int], found: dict[int, list[Message]]
    ) -> None:
        number, offset = message.partition(), message.offset()
        assert number is not None
        if number not in left:
            return
        end = left[number]
        if not is_record(message, self._brokers):
            if is_end(message, end):
                self._done(number, left)  # control records are at the end
            return
        assert offset is not None
        if offset < end:
            found.setdefault(number, []).append(message)
        if offset >= end - 1:
            self._done(number, left)

    def _done(self, number: int, left: dict[int, int]) -> None:
        del left[number]
        self._consumer.incremental_unassign([TopicPartition(self._topic, number)])


def log_ends(client: Mapping[str, Any], topic: str, partitions: Iterable[int]) -> list[int]:
    """Return where each partition ends, with what an open transaction holds.

    Raises:
        Unavailable: Kafka does not answer.
    """
    consumer = open_reader(
        client, f"ends-{topic}", {"isolation.level": "read_uncommitted", "log_level": 0}
    )
    try:
        return [watermarks(consumer, topic, one, _ANSWER_SECONDS)[1] for one in partitions]
    except KafkaException as error:
        raise unavailable(f"the ends of {topic}", error) from error
    finally:
        consumer.close()
