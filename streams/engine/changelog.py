"""The changelog of one table partition: its fenced writer, and its readers.

Every checkpoint is one Kafka transaction: the changed rows and, last, the *marker*, which
holds the source offset that the rows correspond to.  A reader with isolation level
`read_committed` therefore sees whole checkpoints only, wherever the writer crashed, and
compaction never removes a row in favour of one that was not committed.

The transactional id names the table partition.  `ChangelogWriter.open` bumps its epoch:
the broker fences a former owner that wakes up (a zombie), and aborts the transaction it
left open before the new owner reads.  Source: KIP-98 (transactions) and KIP-360.

All methods here block: call them from a worker thread.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.engine.database import Database
from streams.kafka.clients import open_producer, open_reader
from streams.pauses import Pauses
from streams.repeats import REPEATING

logger = logging.getLogger(__name__)

MARKER = b"\0marker"
"""Key of the marker row; keys that begin with NUL are the engine's own."""

_MARKER_LAYOUT = struct.Struct(">BQ")  # version, next source offset
_MARKER_VERSION = 1

_RETRY_PAUSES = (0.05, 1.0)
"""First and longest pause, in seconds, between attempts of a call to Kafka."""
_FENCED = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}


class Fenced(Exception):
    """Another worker owns this table partition now; discard everything uncommitted."""


class ChangelogBroken(Exception):
    """The writer has failed for good (a fatal producer error); reopen the partition."""


class Stopped(Exception):
    """A blocking call ended early because the caller asked it to."""


def pack_marker(source_offset: int) -> bytes:
    """Return the marker's value: the next source offset to fold."""
    return _MARKER_LAYOUT.pack(_MARKER_VERSION, source_offset)


def unpack_marker(value: bytes | None) -> int | None:
    """Return the next source offset to fold, or None if the partition has no marker."""
    if value is None:
        return None
    version, offset = _MARKER_LAYOUT.unpack(value)
    if version != _MARKER_VERSION:
        raise ValueError(f"marker has version {version}; this program reads {_MARKER_VERSION}")
    return int(offset)


class ChangelogWriter:
    """Appends checkpoints to one changelog partition, one transaction each.

    Calls wait while the broker is unavailable.  Between waits they ask `stopped`, and raise
    `Stopped` when it returns true.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        client: Mapping[str, Any],
        transactional_id: str,
        stopped: Callable[[], bool],
        compute_lock: AbstractContextManager[Any] = nullcontext(),  # noqa: B008 - it has no state
    ) -> None:
        """Prepare; `compute_lock` is held while rows are queued, which takes the interpreter."""
        self._compute_lock = compute_lock
        self.topic = topic
        self.partition = partition
        self._stopped = stopped
        self._producer = open_producer(
            client,
            {
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 60_000,
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": 50_000,
                "queue.buffering.max.kbytes": 32_768,
                "batch.size": 262_144,
            },
        )

    def open(self) -> None:
        """Fence the former writer, and abort or complete the transaction it left open.

        Raises:
            Stopped, ChangelogBroken
        """
        self._retried(lambda: self._producer.init_transactions(5.0))

    def append(self, rows: Sequence[tuple[bytes, bytes | None]]) -> int:
        """Write rows (None deletes), the last of them the marker, in one transaction.

        Returns:
            the changelog offset after the marker, from which a reader continues.

        Raises:
            Fenced: another worker has opened this partition; nothing was committed.
            ChangelogBroken: it is unknown whether the transaction was committed.
            Stopped
        """
        while True:
            try:
                return self._append(rows)
            except _AbortableError:
                self._retried(lambda: self._producer.abort_transaction(5.0))
                time.sleep(0.1)

    def _append(self, rows: Sequence[tuple[bytes, bytes | None]]) -> int:
        offsets: list[int] = []

        def on_marker(error: KafkaError | None, message: Any) -> None:
            if error is None:
                offsets.append(message.offset())

        self._retried(self._producer.begin_transaction)
        queued = 0
        while queued < len(rows):
            with self._compute_lock:
                queued = self._queue(rows, queued, on_marker)
            if queued < len(rows):  # the producer's queue is full
                self._check_stopped()
                self._producer.poll(0.05)
        self._retried(lambda: self._producer.commit_transaction(5.0))
        if not offsets:
            raise ChangelogBroken("the commit succeeded, but no offset was reported for the marker")
        return offsets[0] + 1

    def _queue(
        self,
        rows: Sequence[tuple[bytes, bytes | None]],
        first: int,
        on_marker: Callable[[KafkaError | None, Any], None],
    ) -> int:
        """Queue rows from index `first`; return the index of the first that did not fit."""
        topic, partition, produce = self.topic, self.partition, self._producer.produce
        last = len(rows) - 1
        number = first
        try:
            for number in range(first, last):
                key, value = rows[number]
                produce(topic, value, key, partition)
            number = last
            key, value = rows[last]
            produce(topic, value, key, partition, on_delivery=on_marker)
        except BufferError:
            return number
        except KafkaException as exc:
            raise self._explained(exc) from exc
        return last + 1

    def close(self) -> None:
        """Release sockets and threads; the broker aborts an open transaction."""
        with suppress(KafkaException):  # a fenced producer raises again
            self._producer.purge()
            self._producer.poll(0)

    def _check_stopped(self) -> None:
        if self._stopped():
            raise Stopped

    def _retried(self, call: Callable[[], Any]) -> None:
        pauses = Pauses(*_RETRY_PAUSES)
        while True:
            self._check_stopped()
            try:
                call()
                return
            except KafkaException as exc:
                if not _retriable(exc):
                    raise self._explained(exc) from exc
                time.sleep(pauses.next())

    def _explained(self, exc: KafkaException) -> Exception:
        error: KafkaError = exc.args[0]
        if error.code() in _FENCED:
            return Fenced(f"another worker took over: {error.str()}")
        if error.txn_requires_abort() and not error.fatal():
            return _AbortableError(error.str())
        return ChangelogBroken(error.str())


def _retriable(exc: KafkaException) -> bool:
    error: KafkaError = exc.args[0]
    return error.retriable() and not error.fatal() and error.code() not in _FENCED


class _AbortableError(Exception):
    """The transaction must be aborted; it may be retried from its beginning."""


@dataclass(slots=True)
class Batch:
    """Consecutive messages of one changelog partition."""

    next_offset: int
    """The changelog offset after them."""
    written_at: int
    """Log time of the last one, in ms."""
    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    at_end: bool = False
    """Whether the changelog ended after them when they were read."""

    def apply(self, database: Database, topic_id: bytes) -> None:
        """Write the rows to their database, which has everything before them.

        Rows that nothing follows are current now, however old they are.  Others are as old
        as the last of them: tombstones that followed it may be gone when they are read.
        """
        if not (self.rows or self.at_end or self.next_offset > database.next_offset):
            return
        now = int(time.time() * 1000)
        as_of = now if self.at_end else min(now, self.written_at)
        next_offset = max(self.next_offset, database.next_offset)
        database.write(self.rows, next_offset, as_of, topic_id)


def batches(messages: Iterable[Any]) -> dict[tuple[str, int], Batch]:
    """Sort consumed messages by changelog topic and partition.

    The consumer must report ends of partitions (`enable.partition.eof`).

    Raises:
        KafkaException: the consumer has failed for good.
    """
    found: dict[tuple[str, int], Batch] = {}
    for message in messages:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            if error.fatal():
                raise KafkaException(error)
            logger.info("changelog reader: %s; the client retries", error.str(), extra=REPEATING)
            continue
        source = (message.topic(), message.partition())
        batch = found.get(source)
        if batch is None:
            batch = found[source] = Batch(0, 0)
        batch.at_end = error is not None
        if batch.at_end:
            # Past control records, too: they take offsets but are never delivered.
            batch.next_offset = message.offset()
            continue
        key = message.key()
        if key is not None:
            batch.rows.append((key, message.value()))
        batch.next_offset = message.offset() + 1
        batch.written_at = message.timestamp()[1]
    return found


class ChangelogReader:
    """Restores the database of one partition from its changelog; used by one thread."""

    BATCH = 5_000

    def __init__(
        self,
        topic: str,
        partition: int,
        client: Mapping[str, Any],
        database: Database,
        topic_id: bytes,
    ) -> None:
        self._database = database
        self._topic_id = topic_id
        self._consumer = open_reader(
            client,
            f"restore-{topic}",
            {
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.min.messages": 20_000,
                "queued.max.messages.kbytes": 16_384,
                "fetch.wait.max.ms": 200,
            },
        )
        self._consumer.assign([TopicPartition(topic, partition, database.next_offset)])

    def read(self, timeout: float) -> tuple[int, bool]:
        """Apply what arrives within `timeout` seconds, at most one batch.

        Returns:
            the number of rows applied, and whether the end of the changelog was reached.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            return 0, False
        count, at_end = 0, False
        for batch in batches([first, *self._consumer.consume(self.BATCH, 0)]).values():
            batch.apply(self._database, self._topic_id)
            count, at_end = len(batch.rows), batch.at_end
        return count, at_end

    def close(self) -> None:
        """Release sockets and threads."""
        self._consumer.close()
