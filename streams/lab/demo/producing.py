"""Binds and unbinds straight into the log, as a service with a Kafka client would send them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from streams.errors import StreamsError
from streams.events.codec import encode_change
from streams.kafka.clients import open_producer
from streams.operate.topic_log import request_failed
from streams.settings import Settings

CONFIRM_SECONDS: Final = 60.0
BIND: Final = "Bind"
UNBIND: Final = "Unbind"

_HEADERS: Final[dict[str, list[tuple[str, str | bytes | None]]]] = {
    kind: [("type", kind.encode())] for kind in (BIND, UNBIND)
}

Confirmed = Callable[[int, int], None]
"""Called with partition and offset once Kafka has the record."""


class ChangeProducer:
    """Appends Bind and Unbind records to `group-events`, partitioned as everyone does.

    Callbacks run inside `change`, `poll` and `flush`, so in the caller's thread.
    """

    def __init__(self, settings: Settings) -> None:
        """Make the client; nothing is sent yet."""
        self._topic = settings.group_events
        self._brokers = settings.brokers
        self._producer = open_producer(
            settings.librdkafka(),
            {
                "enable.idempotence": True,
                "linger.ms": 5,
                "compression.type": "lz4",
                "batch.size": 256 * 1024,
                "queue.buffering.max.messages": 100_000,
                "log_level": 0,
            },
        )
        self.sent = 0
        self.confirmed = 0
        self.failed = 0
        self.failure = ""

    def change(self, kind: str, group: str, queue: str, confirmed: Confirmed | None = None) -> None:
        """Send a change, `kind` being Bind or Unbind; waits while the client's queue is full."""
        value = encode_change(kind, group, queue, None, time.time_ns() // 1_000_000)

        if confirmed is None:
            delivered = self._count
        else:

            def delivered(error: KafkaError | None, message: Message) -> None:
                self._count(error, message)
                partition, offset = message.partition(), message.offset()
                if error is None and partition is not None and offset is not None:
                    confirmed(partition, offset)

        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value,
                    group.encode(),
                    headers=_HEADERS[kind],
                    on_delivery=delivered,
                )
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise request_failed(self._brokers, f"a record for {self._topic}", error) from error
        self.sent += 1

    def _count(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.confirmed += 1
        else:
            self.failed += 1
            self.failure = error.str()

    def poll(self) -> None:
        """Run the callbacks that are due."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until Kafka has confirmed everything.

        Raises:
            StreamsError: it has not, for some; what became of those is unknown.
        """
        left = self._producer.flush(CONFIRM_SECONDS)
        if left or self.failed:
            reason = self.failure or f"no answer in {CONFIRM_SECONDS:g} s"
            raise StreamsError(
                f"Kafka at {self._brokers} did not confirm {left + self.failed:,} changes: {reason}"
            )
