"""Where a partition begins and ends."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

_MOVING: Final = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}
"""Errors while a partition gets a leader, as after its creation."""
_PAUSE_SECONDS: Final = 0.1


def is_end(message: Message, end: int) -> bool:
    """Return whether a message reports the end of its partition, not before an offset.

    A broker that has just become the leader may report an earlier end: it does not know yet how far
    the log goes, and the client delivers the rest later.

    Args:
        message: anything that a consumer with `enable.partition.eof` has returned.
        end: the offset up to which the partition is known to go.
    """
    error, offset = message.error(), message.offset()
    return (
        error is not None
        and error.code() == KafkaError._PARTITION_EOF
        and offset is not None
        and offset >= end
    )


def watermarks(consumer: Consumer, topic: str, partition: int, seconds: float) -> tuple[int, int]:
    """Return the first offset of a partition, and the end of what the consumer may read.  Blocks.

    Args:
        consumer: any consumer; if it reads committed records only, the end is of these.
        topic: name of the topic.
        partition: number of the partition.
        seconds: how long Kafka may take, also to give the partition a leader.

    Raises:
        KafkaException: Kafka does not answer, or refuses.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = max(deadline - time.monotonic(), _PAUSE_SECONDS)
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), left)
            return int(low), int(high)
        except KafkaException as error:
            if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)
