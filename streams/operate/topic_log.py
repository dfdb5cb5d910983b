"""Reads topics by offset, for commands: a range, or without end.

It joins no consumer group and commits nothing, so reading never disturbs the system. Errors of
Kafka become `StreamsError`s that say what to do.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.errors import StreamsError, Unavailable
from streams.fold import Record
from streams.folds.log_numbers import LogNumbers
from streams.kafka.clients import open_reader
from streams.kafka.errors import answered, unavailable
from streams.kafka.topics import topic_ids
from streams.kafka.watermarks import is_end
from streams.schema_registry.translating import translator
from streams.settings import Settings

SECONDS = 10.0
"""How long Kafka may take to answer a request."""
BATCH = 5_000
WAIT_SECONDS = 0.1
"""How long the client collects records for one batch."""
LASTING_SECONDS = 2.0
"""How long a transaction must hold a partition before people are told."""
RECORD_TYPE = "type"
"""Kafka header that names the record type."""


class Bounds(NamedTuple):
    """The offsets of a partition's first retained record, and of the next record to be written."""

    low: int
    high: int


class Hold(NamedTuple):
    """A partition that an open transaction of a producer holds."""

    topic: str
    partition: int
    offset: int
    """The first offset that cannot be read."""

    def __str__(self) -> str:
        """Say so, and what it means."""
        return (
            f"{self.topic}/{self.partition}: an open transaction of a producer holds the records "
            f"from offset {self.offset} on; they can be read once it ends"
        )


class TopicLog:
    """The topics of one cluster; a context manager."""

    def __init__(self, settings: Settings) -> None:
        """Create a client; send no request yet."""
        self._brokers = settings.brokers
        self._settings = settings
        self._consumer = self._client()
        self._uncommitted: Consumer | None = None
        self._numbers: LogNumbers | None = None
        self._registry = translator(settings.schema_registry_url)

    def _client(self, isolation: str = "read_committed") -> Consumer:
        return open_reader(
            self._settings.librdkafka(),
            f"{self._settings.app_id}-looking",
            {
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 32 * 1024,
                "log_level": 0,
            },
        )

    def __enter__(self) -> TopicLog:
        """Return the log itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the clients."""
        self._consumer.close()
        if self._uncommitted is not None:
            self._uncommitted.close()

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions.

        Raises:
            Unavailable: Kafka does not answer, or refuses.
            StreamsError: there is no such topic.
        """
        try:
            known = self._consumer.list_topics(topic, timeout=SECONDS).topics[topic]
        except KafkaException as error:
            raise request_failed(self._brokers, f"the partitions of {topic}", error) from error
        if known.error is not None or not known.partitions:
            raise StreamsError(
                f"there is no topic {topic} at {self._brokers}; `streams topics` creates the topics"
            )
        return sorted(known.partitions)

    def numbers(self) -> LogNumbers:
        """Return the numbers of the two event logs.

        Raises:
            Unavailable: Kafka does not answer, or has no such topics.
        """
        if self._numbers is None:
            settings = self._settings
            names = settings.group_events, settings.queue_events
            ids = topic_ids(settings.librdkafka(), names)
            self._numbers = LogNumbers.of_topics(ids.__getitem__, *names, settings.unnumbered_until)
        return self._numbers

    def translated(self, topic: str, value: bytes | None) -> bytes | None:
        """Return a record's value as folds read it, whatever its framing.

        Raises:
            BadRecord: it is framed for the schema registry, and cannot be read.
            Unavailable: the schema registry does not answer.
        """
        registry = self._registry
        if (
            registry is None
            or value is None
            or topic != self._settings.group_events
            or not registry.concerns(value)
        ):
            return value
        return registry.translate(value)

    def bounds(self, topic: str, partition: int) -> Bounds:
        """Return the offsets between which a partition can be read.

        Raises:
            Unavailable: Kafka does not answer, or refuses.
        """
        return self._bounds(self._consumer, topic, partition)

    def _bounds(self, client: Consumer, topic: str, partition: int) -> Bounds:
        try:
            found = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=SECONDS)
        except KafkaException as error:
            request = f"the offsets of {topic}/{partition}"
            raise request_failed(self._brokers, request, error) from error
        if found is None:
            raise kafka_away(self._brokers, "no answer")
        return Bounds(*found)

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition."""
        return {number: self.bounds(topic, number).high for number in self.partitions(topic)}

    def holds(self, topic: str, partitions: Iterable[int]) -> list[Hold]:
        """Return those of a topic's partitions that an open transaction holds at this moment."""
        if self._uncommitted is None:
            self._uncommitted = self._client("read_uncommitted")
        found = []
        for number in partitions:
            # In this order: records that come meanwhile do not look as if they were held.
            end = self._bounds(self._uncommitted, topic, number).high
            readable = self.bounds(topic, number).high
            if readable < end:
                found.append(Hold(topic, number, readable))
        return found

    def lasting_holds(self, topic: str, partitions: Iterable[int]) -> list[Hold]:
        """Return those that an open transaction has held for `LASTING_SECONDS`.

        Checkpoints are transactions, too, but short ones.
        """
        found = self.holds(topic, partitions)
        if not found:
            return []
        time.sleep(LASTING_SECONDS)
        still = self.holds(topic, [hold.partition for hold in found])
        return [hold for hold in found if hold in still]

    def offsets_at(self, topic: str, milliseconds: int) -> dict[int, int]:
        """Return the offset of each partition's first record at or after a time."""
        wanted = [TopicPartition(topic, number, milliseconds) for number in self.partitions(topic)]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=SECONDS)
        except KafkaException as error:
            request = f"the offsets of {topic} by time"
            raise request_failed(self._brokers, request, error) from error
        return {
            place.partition: place.offset
            if place.offset >= 0
            else self.bounds(topic, place.partition).high
            for place in found
        }

    def read(
        self, topic: str, start: Mapping[int, int], end: Mapping[int, int]
    ) -> Iterator[Message]:
        """Yield the records of each partition from `start` up to, not including, `end`.

        The records of one partition come in order.  If its last offsets hold no records, a
        partition ends before `end`.

        Raises:
            Unavailable: Kafka stopped answering.
        """
        left = {number: end[number] for number in start if start[number] < end[number]}
        yield from self._consume(topic, {number: start[number] for number in left}, left)

    def reader(self, topic: str, partition: int, start: int) -> PartitionReader:
        """Return a reader of one partition that starts at `start` and keeps its position."""
        return PartitionReader(self._client(), self._settings.brokers, topic, partition, start)

    def follow(self, topic: str, start: Mapping[int, int]) -> Iterator[Message | None]:
        """Yield records from `start` on without end; yield None while none arrive."""
        client = self._client()
        try:
            client.assign([TopicPartition(topic, number, start[number]) for number in start])
            while True:
                batch = client.consume(BATCH, WAIT_SECONDS)
                for message in batch:
                    if is_record(message, self._brokers):
                        yield message
                if not batch:
                    yield None
        finally:
            client.close()

    def _consume(
        self, topic: str, start: Mapping[int, int], left: dict[int, int]
    ) -> Iterator[Message]:
        if not left:
            return
        client = self._client()
        try:
            client.assign([TopicPartition(topic, number, start[number]) for number in start])
            idle = 0.0
            while left:
                batch = client.consume(BATCH, WAIT_SECONDS)
                idle = 0.0 if batch else idle + WAIT_SECONDS
                if idle >= SECONDS:
                    raise kafka_away(self._brokers, "no records arrive")
                for message in batch:
                    number = message.partition()
                    if number is None or number not in left:
                        continue
                    if not is_record(message, self._brokers):
                        if is_end(message, left[number]):
                            del left[number]
                        continue
                    offset = message.offset()
                    assert offset is not None
                    if offset < left[number]:
                        yield message
                    if offset >= left[number] - 1:
                        del left[number]
                        client.incremental_unassign([TopicPartition(topic, number)])
        finally:
            client.close()


class PartitionReader:
    """Reads one partition in steps, each up to an offset that exists."""

    def __init__(
        self, client: Consumer, brokers: str, topic: str, partition: int, start: int
    ) -> None:
        """Take ownership of `client`; read nothing yet."""
        self.position = start
        """Offset of the next record that `read_to` yields."""
        self._client = client
        self._brokers = brokers
        self._ahead: deque[Message] = deque()
        client.assign([TopicPartition(topic, partition, start)])

    def read_to(self, end: int) -> Iterator[Record]:
        """Yield the records from the last position up to, not including, `end`.

        Raises:
            Unavailable: the record before `end` does not arrive.
        """
        idle = 0.0
        while self.position < end:
            if not self._ahead:
                batch = self._client.consume(BATCH, WAIT_SECONDS)
                idle = 0.0 if batch else idle + WAIT_SECONDS
                if idle >= SECONDS:
                    raise kafka_away(self._brokers, "no records arrive")
                self._ahead.extend(m for m in batch if is_record(m, self._brokers))
                continue
            record = as_record(self._ahead[0])
            if record.offset >= end:
                self.position = end
                return
            self._ahead.popleft()
            self.position = record.offset + 1
            yield record

    def close(self) -> None:
        """Close the client."""
        self._client.close()


_HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._AUTHENTICATION,
}


def is_record(message: Message, brokers: str) -> bool:
    """Return whether a message is a record, not a client event such as the end of a partition.

    Raises:
        Unavailable: the event is a permanent error.
    """
    error = message.error()
    if error is None:
        return True
    if error.fatal() or error.code() in _HOPELESS:
        raise Unavailable(f"Kafka at {brokers}: {error.str()}")
    return False


def request_failed(brokers: str, request: str, error: KafkaException) -> Unavailable:
    """Return the error for a failed request; with advice if Kafka did not answer.

    Args:
        brokers: addresses of Kafka.
        request: what Kafka was asked for, as in "the partitions of x".
        error: what the client raised.
    """
    if answered(error):
        return unavailable(request, error)
    return kafka_away(brokers, error.args[0].str())


def kafka_away(brokers: str, reason: str) -> Unavailable:
    """Return the error for a Kafka that does not answer."""
    return Unavailable(
        f"Kafka at {brokers} does not answer ({reason}); "
        "start one with `streams broker`, or set STREAMS_BROKERS to your brokers"
    )


def as_record(message: Message) -> Record:
    """Return the message as a record for folds."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    key, value = as_bytes(message.key()), as_bytes(message.value())
    return Record(partition, offset, message.timestamp()[1], key, value)


def header(message: Message, name: str) -> str | None:
    """Return the text of a Kafka header, None if the record has no such header."""
    found = headers(message).get(name)
    return None if found is None else found.decode(errors="replace")


def headers(message: Message) -> dict[str, bytes | None]:
    """Return the Kafka headers; the last one wins if a name repeats."""
    pairs = message.headers() or []
    return {name: as_bytes(value) for name, value in dict(pairs).items()}


def as_bytes(value: str | bytes | None) -> bytes | None:
    """Return a key or value of the Kafka client as bytes."""
    return value.encode() if isinstance(value, str) else value
