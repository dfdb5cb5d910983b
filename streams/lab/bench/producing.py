"""Writes events to Kafka as fast as one process can, and waits for confirmation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message

from streams.errors import StreamsError
from streams.events.codec import encode, encode_change
from streams.events.records import Message as ChatMessage
from streams.kafka.clients import open_producer
from streams.settings import Settings

CONFIRM_SECONDS: Final = 120.0
POLL_EVERY: Final = 1000


class EncodedEvent(NamedTuple):
    """One record to send."""

    key: bytes
    value: bytes
    type: str


class EventProducer:
    """An idempotent librdkafka producer, configured for throughput."""

    def __init__(self, settings: Settings) -> None:
        self._producer = open_producer(
            settings.librdkafka(),
            {
                "enable.idempotence": True,
                "linger.ms": 20,
                "compression.type": "lz4",
                "batch.size": 512 * 1024,
                "queue.buffering.max.messages": 500_000,
                "queue.buffering.max.kbytes": 256 * 1024,
                # `flush` waits for all successes; only failures are worth a call each.
                "delivery.report.only.error": True,
                "log_level": 0,
            },
        )
        self._failure: str | None = None

    def feed(self, topic: str, events: Iterable[EncodedEvent]) -> int:
        """Send events in order; return their number once Kafka has confirmed all.

        Raises:
            StreamsError: Kafka did not confirm all.
        """
        sent = 0
        for event in events:
            self.send(topic, event)
            sent += 1
            if not sent % POLL_EVERY:
                self._producer.poll(0)
        self.flush()
        return sent

    def send(self, topic: str, event: EncodedEvent) -> None:
        """Send one event; wait while too many are unconfirmed."""
        key, value, kind = event
        while True:
            try:
                self._producer.produce(
                    topic, value, key, headers=_headers(kind), on_delivery=self._report
                )
                return
            except BufferError:
                self._producer.poll(0.05)

    def flush(self) -> None:
        """Wait until Kafka has confirmed everything sent.

        Raises:
            StreamsError: it did not.
        """
        left = self._producer.flush(CONFIRM_SECONDS)
        if left or self._failure is not None:
            raise StreamsError(f"Kafka did not confirm all events: {self._failure or left}")

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error.str()


@cache
def _headers(kind: str) -> list[tuple[str, str | bytes | None]]:
    return [("type", kind.encode())]


def now_ms() -> int:
    """Return the time of day in milliseconds."""
    return time.time_ns() // 1_000_000


def change(kind: str, group: str, queue: str) -> EncodedEvent:
    """Return one Bind or Unbind, as `kind` says."""
    return EncodedEvent(group.encode(), encode_change(kind, group, queue, None, now_ms()), kind)


def changes(kind: str, pairs: Iterable[tuple[str, str]]) -> Iterator[EncodedEvent]:
    """Yield a Bind or Unbind, as `kind` says, for each (group, queue)."""
    at = now_ms()
    for group, queue in pairs:
        yield EncodedEvent(group.encode(), encode_change(kind, group, queue, None, at), kind)


def messages(groups: Iterable[str], tag: str, body: bytes) -> Iterator[EncodedEvent]:
    """Yield a Message to each of the groups; `tag` makes their ids unique."""
    at = now_ms()
    for number, group in enumerate(groups):
        message = ChatMessage(f"{tag}-{number}", group, "bench", body=body, at=at)
        yield EncodedEvent(group.encode(), encode(message), "Message")
