"""Reads `group-events` of another site, across the line.

Only reads: a user at the other site that may describe and read this topic is enough.  All
methods block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.bridge.beginning import Bounds
from streams.errors import Unavailable
from streams.folds.log_numbers import log_number
from streams.kafka.clients import open_reader
from streams.kafka.errors import unavailable
from streams.kafka.topics import topic_ids
from streams.kafka.watermarks import watermarks
from streams.settings import Settings

MIB: Final = 1 << 20
_SECONDS: Final = 30.0
_WAIT_SECONDS: Final = 0.5
"""How long to wait for the first record of a batch."""
_GATHER_SECONDS: Final = 0.005
"""How long to wait for those after it."""
_GONE: Final = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
_HOPELESS: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


class Gone(Unavailable):
    """The other site does not return the records at a place; `beginning` finds out why."""


class RemoteLog:
    """The log of one site; close it."""

    def __init__(self, settings: Settings, site: str) -> None:
        """Create a client; send no request yet.

        Args:
            settings: brokers, namespace and security of the other site.
            site: its name, for messages.
        """
        self._settings = settings
        self._site = site
        self._topic = settings.group_events
        self._next: dict[int, int] = {}
        self._reader = open_reader(
            settings.librdkafka(),
            f"{settings.app_id}-bridge",
            {
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "check.crcs": True,
                "fetch.wait.max.ms": 100,
                "fetch.max.bytes": 8 * MIB,
                "max.partition.fetch.bytes": 2 * MIB,
                "queued.max.messages.kbytes": 16 * 1024,
            },
        )

    def number(self) -> int:
        """Return the number of the log.

        Raises:
            Unavailable: Kafka of the other site does not answer.
        """
        return log_number(topic_ids(self._settings.librdkafka(), [self._topic])[self._topic])

    def bounds(self) -> dict[int, Bounds]:
        """Return the bounds of each partition.

        Raises:
            Unavailable: Kafka of the other site does not answer.
        """
        request = f"the partitions of {self._topic} at site {self._site}"
        try:
            known = self._reader.list_topics(self._topic, timeout=_SECONDS).topics[self._topic]
            if known.error is not None:
                raise KafkaException(known.error)
            return {
                number: Bounds(*watermarks(self._reader, self._topic, number, _SECONDS))
                for number in known.partitions
            }
        except KafkaException as error:
            raise unavailable(request, error) from error

    def start(self, places: Mapping[int, int]) -> None:
        """Read from the next offset of each partition on."""
        self._next = dict(places)
        self._reader.assign(
            [TopicPartition(self._topic, number, offset) for number, offset in places.items()]
        )

    def batch(self, records: int) -> list[Message]:
        """Return the next records, at most so many; none if there are none for half a second.

        Raises:
            Gone: records after the last ones are missing.
            Unavailable: the topic is gone, or must not be read.
        """
        try:
            found = self._reader.consume(1, _WAIT_SECONDS)
            if found and records > 1:
                found += self._reader.consume(records - 1, _GATHER_SECONDS)
        except KafkaException as error:
            raise unavailable(f"the records of site {self._site}", error) from error
        return [message for message in found if self._is_record(message)]

    @property
    def next_offsets(self) -> Mapping[int, int]:
        """The next offset of each partition."""
        return self._next

    def lag(self) -> int:
        """Return how many records of the log were not returned yet, as far as is known."""
        lag = 0
        for number, offset in self._next.items():
            _, high = self._reader.get_watermark_offsets(
                TopicPartition(self._topic, number), cached=True
            )
            lag += max(0, high - offset)
        return lag

    def close(self) -> None:
        """Release sockets and threads."""
        self._reader.close()

    def _is_record(self, message: Message) -> bool:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is None:
            assert partition is not None
            assert offset is not None
            self._next[partition] = offset + 1
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            # The ends of transactions have offsets, too: nothing else tells that they were passed.
            assert partition is not None
            self._next[partition] = max(self._next[partition], offset or 0)
            return False
        if error.code() in _GONE:
            raise Gone(
                f"site {self._site} no longer has the next records of partition {partition}: "
                f"{error.str()}"
            )
        if error.code() in _HOPELESS or error.fatal():
            raise Unavailable(f"Kafka of site {self._site}: {error.str()}")
        return False
