"""Reads the first record of a partition."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from streams.errors import Unavailable
from streams.kafka.clients import open_reader
from streams.kafka.errors import unavailable
from streams.kafka.watermarks import is_end, watermarks


def first_record(
    client: Mapping[str, Any], topic: str, partition: int, seconds: float
) -> tuple[bytes | None, bytes | None] | None:
    """Return key and value of the first committed record that a partition still has.  Blocks.

    Returns None for a partition without one.

    Args:
        client: brokers and security, see `streams.kafka.defaults.client_config`.
        topic: name of the topic.
        partition: number of the partition.
        seconds: how long Kafka may take to answer.

    Raises:
        Unavailable: Kafka does not answer in time, or refuses.
    """
    request = f"the first record of {topic}/{partition}"
    consumer = open_reader(
        client,
        f"first-{topic}",
        {"isolation.level": "read_committed", "enable.partition.eof": True},
    )
    try:
        low, high = watermarks(consumer, topic, partition, seconds)
        if low >= high:
            return None
        consumer.assign([TopicPartition(topic, partition, low)])
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = consumer.poll(left)
            if message is None:
                continue
            if is_end(message, high):
                return None
            if message.error() is None:
                return _bytes(message.key()), _bytes(message.value())
    except KafkaException as error:
        raise unavailable(request, error) from error
    finally:
        consumer.close()
    raise Unavailable(f"Kafka does not return {request}")


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
