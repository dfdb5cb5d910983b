"""Tells seqs that a delivery can have had from times and other numbers.

A seq holds the offset of its record in queue-events, so none is beyond the end of that log; in a
partition that began with queues of another log, the base of its seqs comes on top.  A
time taken for a seq would read nothing for ever, or acknowledge what comes for years.  Kafka is
asked only about seqs far beyond what this worker knows of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.fold import BUCKET_SEPARATOR
from streams.folds.packing import SEQS_PER_RECORD
from streams.folds.row_keys import FOUNDATION
from streams.folds.tables import QUEUES
from streams.gateway.http.errors import bad_request
from streams.gateway.ports import Engine, RecordToSend
from streams.gateway.writes.publishing import Publishing
from streams.kafka.clients import open_reader
from streams.kafka.errors import unavailable
from streams.kafka.first_record import first_record
from streams.kafka.partitioner import partition_of
from streams.settings import Settings

NEAR: Final = 100_000
"""Records by which a seq may be ahead of the known log without asking Kafka.

A time in seconds is 440,000 records ahead of an empty log.
"""
KAFKA_SECONDS: Final = 5.0
_FOUNDATION: Final = FOUNDATION + BUCKET_SEPARATOR


class Seqs:
    """Checks the seqs that clients send, for any partition of queue-events."""

    def __init__(
        self,
        partitions: int,
        known: Callable[[int], int],
        end: Callable[[int], Awaitable[int]],
    ) -> None:
        """Take what returns an offset that a partition has reached, and what asks for its end.

        Both may have the base of the partition's seqs added.
        """
        self._partitions = partitions
        self._known = known
        self._end = end
        self._ends: dict[int, int] = {}
        self._asking = asyncio.Lock()

    def near(self, number: int, seq: int) -> bool:
        """Tell whether a seq is not far beyond what is known of a partition."""
        offset = seq // SEQS_PER_RECORD - NEAR
        return offset <= 0 or offset <= self._ends.get(number, 0) or offset <= self._known(number)

    async def check(self, number: int, seq: int, name: str, code: str = "bad_parameter") -> None:
        """Refuse a seq that no delivery can have had, such as a time.

        Args:
            number: number of the partition.
            seq: what the client sent.
            name: how the client called it.
            code: code of the error.

        Raises:
            HTTPError: 400.
            Unavailable: Kafka does not tell where the log ends.
        """
        if self.near(number, seq):
            return
        async with self._asking:
            if self.near(number, seq):
                return
            self._ends[number] = end = await self._end(number)
        if seq > end * SEQS_PER_RECORD:
            raise bad_request(
                code,
                f"{name} is {seq}, but no message of this queue can have a seq beyond "
                f"{end * SEQS_PER_RECORD}; it must be the `seq` of a message, not a time",
            )

    async def check_record(self, record: RecordToSend) -> None:
        """Check the highest seq that a record names; raises as `check`."""
        number = partition_of(record.key, self._partitions)
        if not self.near(number, record.seq):
            await self.check(number, record.seq, "a seq", "bad_field")


class LogEnds:
    """Where the partitions of queue-events end."""

    def __init__(self, settings: Settings, engine: Engine, publishing: Publishing) -> None:
        self._settings = settings
        self._engine = engine
        self._publishing = publishing
        self._thread: ThreadPoolExecutor | None = None
        self._consumer: Consumer | None = None
        self._bases: dict[int, int] = {}

    def known(self, number: int) -> int:
        """Return an offset that a partition is known to have reached; asks nobody."""
        confirmed = self._publishing.confirmed(self._settings.queue_events, number)
        partition = self._engine.partition(QUEUES, number)
        return confirmed if partition is None else max(confirmed, partition.position)

    async def end(self, number: int) -> int:
        """Ask Kafka for the end of a partition; add the base of its seqs.

        Raises:
            Unavailable: it does not answer.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="log-ends")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, number)

    async def close(self) -> None:
        """Disconnect."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.shutdown)
            if self._consumer is not None:
                self._consumer.close()

    def _ask(self, number: int) -> int:
        if self._consumer is None:
            self._consumer = open_reader(
                self._settings.librdkafka(), f"{self._settings.app_id}-log-ends"
            )
        place = TopicPartition(self._settings.queue_events, number)
        try:
            _, high = self._consumer.get_watermark_offsets(place, KAFKA_SECONDS)
        except KafkaException as error:
            raise unavailable("the end of the log", error) from error
        return int(high) + self._base(number)

    def _base(self, number: int) -> int:
        """Return the base of a partition's seqs, which never changes: see `FOUNDATION`."""
        if number not in self._bases:
            settings = self._settings
            first = first_record(
                settings.librdkafka(), settings.changelog(QUEUES), number, KAFKA_SECONDS
            )
            self._bases[number] = seq_base(first)
        return self._bases[number]


def seq_base(first: tuple[bytes | None, bytes | None] | None) -> int:
    """Return the base of seqs, given the first record of a changelog partition of `queues`."""
    if first is None or first[0] != _FOUNDATION:
        return 0
    return int.from_bytes((first[1] or b"")[:8], "big")
