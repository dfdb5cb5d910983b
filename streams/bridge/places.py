"""The places of bridges: up to where the log of another site has been copied.

They are rows of a compacted topic of this site.  A row is appended in the same transaction as the
copies before it, so both are there or neither is.  The key names the other site's log by its
number (`streams.folds.log_numbers`) and the partition; a log that was made again is another log.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.engine.topics import changelog_topic
from streams.errors import Unavailable
from streams.kafka.clients import open_reader
from streams.kafka.errors import unavailable
from streams.kafka.topics import Topic
from streams.kafka.watermarks import watermarks

_SECONDS: Final = 60.0
"""How long Kafka may take; longer than an open transaction of another bridge lasts."""


def places_topic(name: str, replication: int) -> Topic:
    """Return the topic of places: one partition, and configured like a changelog."""
    return changelog_topic(name, 1, replication)


def place_row(log: int, partition: int, site: str, offset: int) -> tuple[bytes, bytes]:
    """Return key and value of the row for a partition of another site's log.

    Args:
        log: number of the log.
        partition: number of the partition.
        site: name of the site, for people who read the topic.
        offset: of the next record to copy.
    """
    return f"{log}/{partition}".encode(), orjson.dumps({"site": site, "next": offset})


def kept_places(client: Mapping[str, Any], topic: str, log: int) -> dict[int, int]:
    """Return the next offset by partition of a log, of those that have a place.  Blocks.

    Call it after the transactions of the former bridge have ended.  Open transactions of
    bridges from other sites are waited for: they hide what was committed after they began.

    Raises:
        Unavailable: Kafka does not answer in time, or refuses.
    """
    request = f"the places in {topic}"
    found: dict[int, int] = {}
    prefix = f"{log}/".encode()
    name = f"places-{topic}"
    try:
        end = _end(client, name, topic)
        config = {"isolation.level": "read_committed", "enable.partition.eof": True}
        reader = open_reader(client, name, config)
        try:
            reader.assign([TopicPartition(topic, 0, 0)])
            deadline = time.monotonic() + _SECONDS
            while end and time.monotonic() < deadline:
                message = reader.poll(1.0)
                if message is None:
                    continue
                error, offset = message.error(), message.offset()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF and (offset or 0) >= end:
                        return found
                    continue
                key, value = message.key(), message.value()
                if isinstance(key, bytes) and value is not None and key.startswith(prefix):
                    found[int(key[len(prefix) :])] = orjson.loads(value)["next"]
        finally:
            reader.close()
    except KafkaException as error:
        raise unavailable(request, error) from error
    if end:
        raise Unavailable(f"Kafka does not return {request}")
    return found


def _end(client: Mapping[str, Any], name: str, topic: str) -> int:
    """Return the end of the topic, open transactions included."""
    reader = open_reader(client, name, {"isolation.level": "read_uncommitted"})
    try:
        return watermarks(reader, topic, 0, _SECONDS)[1]
    finally:
        reader.close()
