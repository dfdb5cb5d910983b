"""Writes binds and unbinds directly to `group-events`, as a service with Kafka access would."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError, Message

from streams.events.codec import encode_change
from streams.kafka.clients import open_producer
from streams.lab.faults.evidence import Answers
from streams.settings import Settings

FLUSH_SECONDS = 60.0
QUEUED = 5_000
"""Most records that may await confirmation; further ones are not sent."""


class ChangeWriter:
    """Appends changes and records their outcome; used from one thread at a time."""

    def __init__(self, settings: Settings, answers: Answers) -> None:
        self._topic = settings.group_events
        self._answers = answers
        self._waiting = 0
        self._producer = open_producer(
            settings.librdkafka(),
            {
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 60_000,
                "log_level": 0,
            },
        )

    def change(self, kind: str, group: str, queue: str, session: str | None = None) -> bool:
        """Send a change; `kind` is Bind or Unbind.  Return False if too many are unconfirmed."""
        if self._waiting >= QUEUED:
            return False
        value = encode_change(kind, group, queue, session, time.time_ns() // 1_000_000)

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._waiting -= 1
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                self._answers.unknown += 1
                return
            self._answers.confirmed += 1
            self._answers.placed[partition, offset] = (kind, group, queue)

        self._waiting += 1
        self._producer.produce(
            self._topic, value, group.encode(), headers=[("type", kind)], on_delivery=delivered
        )
        return True

    def poll(self) -> None:
        """Process confirmations."""
        self._producer.poll(0)

    def flush(self) -> int:
        """Wait until everything is confirmed; return how many are not.  Blocks."""
        return int(self._producer.flush(FLUSH_SECONDS))

    def close(self) -> None:
        """Discard records that were not sent."""
        self._producer.purge()
        self._producer.poll(0)
