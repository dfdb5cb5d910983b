"""Hands the rows of a checkpoint to a producer, as fast as its queue takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from ctypes import c_int64
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from streams.engine.native_rows import NativeLayer


class RowQueue(Protocol):
    """Rows on their way to a producer, in order."""

    def put(self) -> bool:
        """Queue rows; return False if the producer's queue is full, True if all are queued.

        Raises:
            KafkaException: the producer refuses a row.
        """
        ...


class PythonQueue:
    """Rows that Python queues, each with a call."""

    def __init__(
        self,
        producer: Any,
        topic: str,
        partition: int,
        rows: Iterable[tuple[bytes, bytes | None]],
        compute_lock: AbstractContextManager[Any],
        **more: Callable[..., None],
    ) -> None:
        """Prepare; `compute_lock` is held while rows are queued, `more` goes with each of them."""
        self._producer = producer
        self._place = topic, partition
        self._rows = list(rows)
        self._next = 0
        self._compute_lock = compute_lock
        self._more = more

    def put(self) -> bool:
        """Queue rows; see `RowQueue.put`."""
        produce, more, rows, number = self._producer.produce, self._more, self._rows, self._next
        topic, partition = self._place
        with self._compute_lock:
            try:
                for number in range(self._next, len(rows)):
                    key, value = rows[number]
                    produce(topic, value, key, partition, **more)
            except BufferError:
                self._next = number
                return False
        self._next = len(rows)
        return True


class CoreQueue:
    """The rows of a layer in the native core, which queues them without the interpreter."""

    def __init__(self, layer: NativeLayer, topic: int, partition: int) -> None:
        """Prepare; `topic` is a handle (`streams.native.kafka.SharedClient.topic`)."""
        self._layer = layer
        self._topic = topic
        self._partition = partition
        self._next = c_int64()

    def put(self) -> bool:
        """Queue rows; see `RowQueue.put`."""
        error = self._layer.produce(self._topic, self._partition, self._next)
        if error not in (0, KafkaError._QUEUE_FULL):
            raise KafkaException(KafkaError(error))
        return error == 0
