"""The changelog of one table partition: its fenced writer.

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

import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Literal, cast

from confluent_kafka import KafkaError, KafkaException

from streams.engine.native_rows import NativeLayer
from streams.engine.overlay import FrozenRows
from streams.engine.row_queue import CoreQueue, PythonQueue, RowQueue
from streams.errors import Unavailable
from streams.kafka.clients import open_producer
from streams.native import Library
from streams.native.kafka import make_shared
from streams.pauses import Pauses

MARKER = b"\0marker"
"""Key of the marker row; keys that begin with NUL are the engine's own."""

_MARKER_LAYOUT = struct.Struct(">BQ")  # version, next source offset
_MARKER_VERSION = 1
_UNFINISHED_VERSION = 2
_RESCALING_VERSIONS = {"copying": 3, "cleaning": 4}

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


class Unfinished(Unavailable):
    """The changelog is being written by an import or a rescale that has not ended."""


def pack_marker(source_offset: int) -> bytes:
    """Return the marker's value: the next source offset to fold."""
    return _MARKER_LAYOUT.pack(_MARKER_VERSION, source_offset)


def unfinished_marker() -> bytes:
    """Return the value of the marker while rows are imported: nobody may use them yet."""
    return _MARKER_LAYOUT.pack(_UNFINISHED_VERSION, 0)


RescaleStep = Literal["copying", "cleaning"]
"""While rows are copied to new partitions, and while they are removed from where they were."""


def rescaling_marker(step: RescaleStep, source_offset: int) -> bytes:
    """Return the value of the marker while a rescale splits the partition."""
    return _MARKER_LAYOUT.pack(_RESCALING_VERSIONS[step], source_offset)


def unpack_rescaling(value: bytes | None) -> tuple[RescaleStep, int] | None:
    """Return step and source offset of a marker that a rescale wrote; None for any other."""
    if value is not None:
        version, offset = _MARKER_LAYOUT.unpack(value)
        for step, number in _RESCALING_VERSIONS.items():
            if version == number:
                return cast(RescaleStep, step), int(offset)
    return None


def unpack_marker(value: bytes | None) -> int | None:
    """Return the next source offset to fold, or None if the partition has no marker.

    Raises:
        Unfinished: an import or a rescale has not ended.
    """
    if value is None:
        return None
    version, offset = _MARKER_LAYOUT.unpack(value)
    if version == _UNFINISHED_VERSION:
        raise Unfinished(
            "an import into this namespace has not ended: wait for `streams import`, or repeat it"
            " if it was broken off"
        )
    if version in _RESCALING_VERSIONS.values():
        raise Unfinished(
            "a rescale of this namespace has not ended: wait for `streams rescale`, or repeat it"
            " if it was broken off"
        )
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
        core: Library | None = None,
    ) -> None:
        """Prepare.

        Args:
            compute_lock: held while Python queues rows, which takes the interpreter.
            core: queues the rows that it holds itself.
        """
        self._compute_lock = compute_lock
        self.topic = topic
        self.partition = partition
        self._stopped = stopped
        config = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": 60_000,
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 50_000,
            "queue.buffering.max.kbytes": 32_768,
            "batch.size": 262_144,
        }
        self._producer, self._shared = make_shared(
            core, client, lambda more: open_producer(client, {**config, **more})
        )

    def open(self) -> None:
        """Fence the former writer, and abort or complete the transaction it left open.

        Raises:
            Stopped, ChangelogBroken
        """
        self._retried(lambda: self._producer.init_transactions(5.0))

    def append(self, layer: FrozenRows, position: int) -> int:
        """Write the rows of a layer and, last, the marker of a position, in one transaction.

        Returns:
            the changelog offset after the marker, from which a reader continues.

        Raises:
            Fenced: another worker has opened this partition; nothing was committed.
            ChangelogBroken: it is unknown whether the transaction was committed.
            Stopped
        """
        while True:
            try:
                return self._append(layer, position)
            except _AbortableError:
                self._retried(lambda: self._producer.abort_transaction(5.0))
                time.sleep(0.1)

    def _append(self, layer: FrozenRows, position: int) -> int:
        offsets: list[int] = []

        def on_marker(error: KafkaError | None, message: Any) -> None:
            if error is None:
                offsets.append(message.offset())

        self._retried(self._producer.begin_transaction)
        with self._queue(layer) as queue:
            self._put(queue)
        marker = [(MARKER, pack_marker(position))]
        self._put(self._python_queue(marker, on_delivery=on_marker))
        self._retried(lambda: self._producer.commit_transaction(5.0))
        if not offsets:
            raise ChangelogBroken("the commit succeeded, but no offset was reported for the marker")
        return offsets[0] + 1

    @contextmanager
    def _queue(self, layer: FrozenRows) -> Iterator[RowQueue]:
        if self._shared is not None and isinstance(layer, NativeLayer):
            with self._shared.topic(self.topic) as topic:
                yield CoreQueue(layer, topic, self.partition)
        else:
            yield self._python_queue(layer.rows())

    def _python_queue(
        self, rows: Iterable[tuple[bytes, bytes | None]], **more: Callable[..., None]
    ) -> PythonQueue:
        lock = self._compute_lock
        return PythonQueue(self._producer, self.topic, self.partition, rows, lock, **more)

    def _put(self, queue: RowQueue) -> None:
        """Queue all rows."""
        while True:
            try:
                if queue.put():
                    return
            except KafkaException as exc:
                raise self._explained(exc) from exc
            self._check_stopped()
            self._producer.poll(0.05)

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
