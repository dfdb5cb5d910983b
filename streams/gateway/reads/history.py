"""The history of a group, read from the log by a few consumers.

The messages of a group lie among those of all groups of its partition.  Each read scans a
limited number of records, for a limited time, and returns the offset to continue from.  Knows
Kafka and the records, not HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import StreamsError, Unavailable
from streams.events.codec import decode
from streams.events.records import Message
from streams.fold import BadRecord
from streams.folds.log_numbers import LogNumbers
from streams.gateway.http.errors import busy
from streams.kafka.clients import open_reader
from streams.kafka.errors import unavailable
from streams.kafka.partitioner import partition_of
from streams.kafka.watermarks import is_end
from streams.schema_registry.translating import RegistryTranslator
from streams.settings import Settings

T = TypeVar("T")

READERS: Final = 2
MAX_WAITING: Final = 50
READ_SECONDS: Final = 2.0
READ_RECORDS: Final = 200_000
READ_BYTES: Final = 4 * 1024 * 1024
KAFKA_SECONDS: Final = 5.0
LIKE_A_TIME: Final = 978_307_200
"""The year 2001 in seconds since 1970: greater offsets beyond the end are taken for times."""
_BATCH: Final = 1000
_COLLECT_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Moment:
    """A position in the log: an offset, or a time in milliseconds since the epoch."""

    value: int
    is_time: bool = False


class _Readers(NamedTuple):
    """The two consumers of one thread."""

    committed: Consumer
    """Reads the log, up to the first record of an open transaction."""
    all: Consumer
    """Asks for the end of the log, with what open transactions hold."""

    def close(self) -> None:
        self.committed.close()
        self.all.close()


class NotAnOffset(StreamsError):
    """A position lies so far beyond the end of the log that it cannot be an offset."""


@dataclass(slots=True)
class Span:
    """The result of one read."""

    partition: int
    next: int
    """Offset to continue from."""
    end: bool = False
    """Whether the read reached the end of what was asked for, or of what can be read."""
    held: int | None = None
    """First offset that an open transaction keeps from being read, if the read ended there."""
    messages: list[tuple[int, int, Message]] = field(default_factory=list)
    """Offset, time in ms and message, in the order of the log."""


class History:
    """Reads the log of group events for the requests of one worker."""

    def __init__(
        self,
        settings: Settings,
        logs: Callable[[], LogNumbers],
        registry: RegistryTranslator | None = None,
    ) -> None:
        """Take settings, what returns the numbers of the logs, what reads other framings."""
        self._registry = registry
        self._settings = settings
        self._logs = logs
        self._threads: ThreadPoolExecutor | None = None
        self._idle: list[_Readers] = []
        self._waiting = 0

    async def close(self) -> None:
        """Close all consumers once their reads have ended."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.get_running_loop().run_in_executor(None, threads.shutdown)
            for readers in self._idle:
                readers.close()
            self._idle.clear()

    async def read(self, group: str, start: Moment, stop: Moment | None, limit: int) -> Span:
        """Return up to `limit` messages of a group, from `start` up to and excluding `stop`.

        Repeated, expired and transient messages are left out, and those that folds of
        another system wrote.

        Raises:
            Unavailable: Kafka does not answer.
            HTTPError: 429 if too many requests are reading already.
            NotAnOffset: `start` is an offset beyond the end of the log, or `stop` one that
                looks like a time.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="history")
        if self._waiting >= MAX_WAITING:
            raise busy("this worker has too many history reads in progress; try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._read, group, start, stop, limit
            )
        finally:
            self._waiting -= 1

    # In a thread ----------------------------------------------------------------------

    def _read(self, group: str, start: Moment, stop: Moment | None, limit: int) -> Span:
        readers = self._idle.pop() if self._idle else self._readers()
        consumer = readers.committed
        try:
            key = group.encode()
            partition = partition_of(key, self._settings.partitions)
            place = TopicPartition(self._settings.group_events, partition)
            low, high = _bounds(consumer, place)
            # An open transaction may hold records that were confirmed: their offsets are offsets.
            beyond = not start.is_time and start.value > high
            _check_offsets(start, stop, _bounds(readers.all, place)[1] if beyond else high)
            first = max(low, self._offset(consumer, partition, start, high))
            last = high if stop is None else self._offset(consumer, partition, stop, high)
            span = Span(partition, first, end=first >= min(last, high))
            if not span.end:
                self._go_through(consumer, key, span, min(last, high), limit)
            if span.end and (stop is None or stop.is_time or last > high):
                span.held = _held(readers, place, high)
        except NotAnOffset:
            self._idle.append(readers)
            raise
        except BaseException:
            readers.close()
            raise
        self._idle.append(readers)
        return span

    def _offset(self, consumer: Consumer, partition: int, moment: Moment, high: int) -> int:
        if not moment.is_time:
            return moment.value
        wanted = [TopicPartition(self._settings.group_events, partition, moment.value)]
        (found,) = _asked(lambda: consumer.offsets_for_times(wanted, KAFKA_SECONDS))
        return high if found.offset < 0 else int(found.offset)

    def _go_through(
        self, consumer: Consumer, key: bytes, span: Span, last: int, limit: int
    ) -> None:
        topic = self._settings.group_events
        _asked(lambda: consumer.assign([TopicPartition(topic, span.partition, span.next)]))
        seen: set[tuple[str, str]] = set()
        logs = self._logs()
        deadline = time.monotonic() + READ_SECONDS
        records = size = 0
        now = time.time_ns() // 1_000_000
        try:
            while True:
                for record in consumer.consume(_BATCH, _COLLECT_SECONDS):
                    if is_end(record, last):
                        span.next, span.end = max(span.next, last), True
                        return
                    error = record.error()
                    if error is not None:
                        if error.code() == KafkaError._PARTITION_EOF:
                            continue  # the rest comes later
                        raise Unavailable(f"cannot read the log: {error.str()}")
                    offset, value = record.offset(), record.value()
                    assert offset is not None
                    if offset >= last:
                        span.end = True
                        return
                    records += 1
                    span.next = offset + 1
                    if record.key() != key:
                        continue
                    message = self._message(value, record.timestamp()[1], now, logs)
                    if message is None or (message.sender, message.id) in seen:
                        continue
                    seen.add((message.sender, message.id))
                    span.messages.append((offset, record.timestamp()[1], message))
                    size += len(value or b"")
                    if len(span.messages) == limit or size > READ_BYTES:
                        span.end = span.next >= last
                        return
                if span.next >= last:
                    span.end = True
                    return
                if records >= READ_RECORDS or time.monotonic() > deadline:
                    return
        finally:
            consumer.unassign()

    def _message(
        self, value: bytes | None, timestamp: int, now: int, logs: LogNumbers
    ) -> Message | None:
        """Return the message of a record, None if readers may not see it.

        Raises:
            Unavailable: the schema registry that the record needs does not answer.
        """
        registry = self._registry
        if registry is not None and value is not None and registry.concerns(value):
            try:
                value = registry.translate(value)
            except BadRecord:
                return None
        former = logs.rescaled_from(self._settings.partitions)
        return _message(value, timestamp, now, logs, former)

    def _readers(self) -> _Readers:
        client, name = self._settings.librdkafka(), f"{self._settings.app_id}-history"
        committed = open_reader(
            client,
            name,
            {
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 8 * 1024,
            },
        )
        return _Readers(
            committed, open_reader(client, name, {"isolation.level": "read_uncommitted"})
        )


def _bounds(consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
    low, high = _asked(lambda: consumer.get_watermark_offsets(place, KAFKA_SECONDS))
    return int(low), int(high)


def _held(readers: _Readers, place: TopicPartition, high: int) -> int | None:
    """Return `high`, the end of what can be read, if an open transaction holds what follows.

    Asked in this order: records that come meanwhile do not look as if they were held.
    """
    if _bounds(readers.all, place)[1] <= high:
        return None
    return high if _bounds(readers.committed, place)[1] == high else None


def _check_offsets(start: Moment, stop: Moment | None, end: int) -> None:
    """Refuse offsets that are none, such as a time in milliseconds.

    A later `stop` than the end is usual: it stands for the end.
    """
    for name, moment, latest in (("from", start, end), ("to", stop, max(end, LIKE_A_TIME))):
        if moment is not None and not moment.is_time and moment.value > latest:
            raise NotAnOffset(
                f"{name} is {moment.value}, but the log ends at offset {end}; {name} must be an "
                "offset, or a time in ISO 8601 such as 2030-01-31T12:00:00Z, not a number of "
                "milliseconds or seconds"
            )


def _message(
    value: bytes | None, timestamp: int, now: int, logs: LogNumbers, former: Set[int]
) -> Message | None:
    """Return the message of a record, None if readers may not see it.

    `former` has the numbers that the logs have, and those that they had before each rescale.
    """
    try:
        message = decode(value)
        if not isinstance(message, Message) or not message.persistent:
            return None
        if message.origin is not None and message.origin.log not in former:
            logs.check("the origin", message.origin.log, logs.queue_events, timestamp)
    except BadRecord:
        return None
    if message.expires_at is not None and message.expires_at <= max(timestamp, now):
        return None
    return message


def _asked(question: Callable[[], T]) -> T:
    try:
        answer = question()
    except KafkaException as error:
        raise unavailable("the read", error) from error
    return answer
