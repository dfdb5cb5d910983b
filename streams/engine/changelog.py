"""The changelog of one table partition: the writer, fenced, and the reader.

Every checkpoint is one Kafka transaction: the rows that changed, and last the *marker*,
which holds the source offset that the rows stand for.  So a reader with isolation level
`read_committed` sees whole checkpoints only, whatever died in the middle of one, and
compaction never takes a row for the sake of a newer one that was not committed.

The transactional id names the table partition.  `ChangelogWriter.open` bumps its epoch:
a former owner that wakes up (a zombie) is fenced by the broker, and what it left open is
aborted before the new owner reads.  Source: KIP-98 (transactions) and KIP-360.

All methods here block: call them from a worker thread.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streams.engine.database import Database
from streams.kafka.clients import logger as kafka_logger

MARKER = b"\0marker"
"""Key of the marker row; keys that begin with NUL are the engine's own."""

_MARKER_LAYOUT = struct.Struct(">BQ")  # version, next source offset
_MARKER_VERSION = 1

_FENCED = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}


class Fenced(Exception):
    """Another worker owns this table partition now: discard what was not committed."""


class ChangelogBroken(Exception):
    """The writer cannot go on (a fatal producer error): open the partition afresh."""


class Stopped(Exception):
    """The caller asked a blocking call to end."""


def pack_marker(source_offset: int) -> bytes:
    """Return the marker's value: the next source offset to fold."""
    return _MARKER_LAYOUT.pack(_MARKER_VERSION, source_offset)


def unpack_marker(value: bytes | None) -> int | None:
    """Return the next source offset to fold, or None for a partition that has no marker."""
    if value is None:
        return None
    version, offset = _MARKER_LAYOUT.unpack(value)
    if version != _MARKER_VERSION:
        raise ValueError(f"marker of version {version}, this program knows {_MARKER_VERSION}")
    return int(offset)


class ChangelogWriter:
    """Appends checkpoints to one changelog partition, one transaction each.

    `stopped` is asked between waits: when it returns true, a blocking call raises
    `Stopped`.  A broker that is away is waited for.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        client: Mapping[str, Any],
        transactional_id: str,
        stopped: Callable[[], bool],
        turn: AbstractContextManager[Any] = nullcontext(),  # noqa: B008 - it has no state
    ) -> None:
        """Prepare; `turn` is held while rows are queued, which keeps the interpreter busy."""
        self._turn = turn
        self.topic = topic
        self.partition = partition
        self._stopped = stopped
        self._producer = Producer(
            {
                **client,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 60_000,
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": 50_000,
                "queue.buffering.max.kbytes": 32_768,
                "batch.size": 262_144,
                "message.max.bytes": 2_097_152,  # a row may hold a message of 1 MiB
                "statistics.interval.ms": 0,
                "log.connection.close": False,
            },
            error_cb=lambda _error: None,  # each call reports its own errors
            logger=kafka_logger,
        )

    def open(self) -> None:
        """Fence the former writer, and abort or complete what it left open.

        Raises:
            Stopped, ChangelogBroken
        """
        self._retried(lambda: self._producer.init_transactions(5.0))

    def append(self, rows: Sequence[tuple[bytes, bytes | None]]) -> int:
        """Write rows (None deletes), the last of them the marker, in one transaction.

        Returns:
            the changelog offset after the marker: what a reader continues from.

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
            with self._turn:
                queued = self._queue(rows, queued, on_marker)
            if queued < len(rows):  # the producer's queue is full
                self._check_stopped()
                self._producer.poll(0.05)
        self._retried(lambda: self._producer.commit_transaction(5.0))
        if not offsets:
            raise ChangelogBroken("committed without an offset for the marker")
        return offsets[0] + 1

    def _queue(
        self,
        rows: Sequence[tuple[bytes, bytes | None]],
        first: int,
        on_marker: Callable[[KafkaError | None, Any], None],
    ) -> int:
        """Queue rows from number `first` on; return the number of the first that had no room."""
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
        """Give back sockets and threads; an open transaction is left to be aborted."""
        with suppress(KafkaException):  # a fenced producer says so once more
            self._producer.purge()
            self._producer.poll(0)

    def _check_stopped(self) -> None:
        if self._stopped():
            raise Stopped

    def _retried(self, call: Callable[[], Any]) -> None:
        while True:
            self._check_stopped()
            try:
                call()
                return
            except KafkaException as exc:
                if not _retriable(exc):
                    raise self._explained(exc) from exc
                time.sleep(0.05)

    def _explained(self, exc: KafkaException) -> Exception:
        error: KafkaError = exc.args[0]
        if error.code() in _FENCED:
            return Fenced(error.str())
        if error.txn_requires_abort() and not error.fatal():
            return _AbortableError(error.str())
        return ChangelogBroken(error.str())


def _retriable(exc: KafkaException) -> bool:
    error: KafkaError = exc.args[0]
    return error.retriable() and not error.fatal() and error.code() not in _FENCED


class _AbortableError(Exception):
    """The broker wants this transaction aborted; it may be tried again from its beginning."""


class ChangelogReader:
    """Reads committed rows of one changelog partition into its database.

    Used by one thread at a time: to restore an active partition up to the end of the
    changelog, and to follow it on a standby.
    """

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
        self._rows = 0
        self._consumer = Consumer(
            {
                **client,
                "group.id": f"restore-{topic}",  # required by the client, never joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.min.messages": 20_000,
                "queued.max.messages.kbytes": 16_384,
                "fetch.wait.max.ms": 200,
                "log.connection.close": False,
            },
            logger=kafka_logger,
        )
        self._consumer.assign([TopicPartition(topic, partition, database.next_offset)])

    def read(self, timeout: float) -> tuple[int, bool]:
        """Apply what comes within `timeout` seconds, at most one batch.

        Returns:
            the number of rows applied, and whether the end of the changelog was reached.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            return 0, False
        messages: list[Any] = [first, *self._consumer.consume(self.BATCH, 0)]
        rows: list[tuple[bytes, bytes | None]] = []
        next_offset = self._database.next_offset
        at_end = False
        written_at = self._database.written_at
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    at_end = True
                    # Past control records, too: they take offsets but are never delivered.
                    next_offset = max(next_offset, message.offset())
                    continue
                if error.fatal():
                    raise KafkaException(error)
                continue  # the client retries by itself
            at_end = False
            key = message.key()
            if key is not None:
                rows.append((key, message.value()))
            next_offset = message.offset() + 1
            written_at = message.timestamp()[1]
        if rows or next_offset != self._database.next_offset:
            # What was read is as old as its last record, unless nothing comes after that.
            now = int(time.time() * 1000)
            when = now if at_end else min(now, written_at)
            self._database.write(rows, next_offset, when, self._topic_id)
        return len(rows), at_end

    def close(self) -> None:
        """Give back sockets and threads."""
        self._consumer.close()
