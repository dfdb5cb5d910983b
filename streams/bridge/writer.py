"""Appends copies and places at this site, in one transaction.

The transactional id names the other site's log: a bridge that starts ends the transaction of the
one before it, which can commit nothing afterwards (KIP-98).  All methods block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from streams.bridge.crossing import Copy
from streams.errors import StreamsError, Unavailable
from streams.kafka.clients import open_producer
from streams.kafka.partitioner import partition_of
from streams.pauses import Pauses

TRANSACTION_MS: Final = 30_000
"""A killed bridge holds the partitions that it was writing to for so long, or until it starts."""
_CALL_SECONDS: Final = 5.0
_PAUSES: Final = (0.05, 1.0)
_FENCED: Final = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}


class TakenOver(StreamsError):
    """Another bridge copies the same log to this site now."""


class Writer:
    """The one writer of copies of a log."""

    def __init__(
        self,
        client: Mapping[str, Any],
        transactional_id: str,
        topic: str,
        partitions: int,
        places: str,
        stopped: Callable[[], bool],
    ) -> None:
        """Prepare.

        Args:
            client: brokers and security of this site.
            transactional_id: names the other site's log.
            topic: `group-events` of this site.
            partitions: number of its partitions.
            places: topic of the places.
            stopped: asked between attempts; when it is true, a call ends with `Unavailable`.
        """
        self._topic = topic
        self._partitions = partitions
        self._places = places
        self._stopped = stopped
        config = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_MS,
            "compression.type": "lz4",
            "linger.ms": 2,
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": 65_536,
            "batch.size": 262_144,
        }
        self._producer = open_producer(client, config)

    def open(self) -> None:
        """Fence the former writer; its transaction has ended when this returns.

        Raises:
            Unavailable, TakenOver
        """
        self._retried(lambda: self._producer.init_transactions(_CALL_SECONDS))

    def write(self, copies: Iterable[Copy], places: Iterable[tuple[bytes, bytes]]) -> None:
        """Append copies, and the places after them, all or none.

        Raises:
            Unavailable: nothing was committed, or it is unknown whether all was: open another
                writer and read the places.
            TakenOver
        """
        self._retried(self._producer.begin_transaction)
        for copy in copies:
            number = partition_of(copy.key, self._partitions)
            self._produce(self._topic, number, copy.key, copy.value, list(copy.headers))
        for key, value in places:
            self._produce(self._places, 0, key, value, [])
        self._retried(lambda: self._producer.commit_transaction(_CALL_SECONDS))

    def close(self) -> None:
        """Release sockets and threads; the broker or the next writer aborts an open transaction."""
        with suppress(KafkaException):
            self._producer.purge()
            self._producer.poll(0)

    def _produce(
        self, topic: str, partition: int, key: bytes, value: bytes, headers: list[Any]
    ) -> None:
        while True:
            try:
                self._producer.produce(
                    topic, value=value, key=key, partition=partition, headers=headers
                )
                return
            except BufferError:
                self._check_stopped()
                self._producer.poll(0.1)
            except KafkaException as error:
                raise _explained(error) from error

    def _retried(self, call: Callable[[], Any]) -> None:
        pauses = Pauses(*_PAUSES)
        while True:
            self._check_stopped()
            try:
                call()
                return
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if not cause.retriable() or cause.fatal() or cause.code() in _FENCED:
                    raise _explained(error) from error
            time.sleep(pauses.next())

    def _check_stopped(self) -> None:
        if self._stopped():
            raise Unavailable("the bridge is stopping")


def _explained(error: KafkaException) -> StreamsError:
    cause: KafkaError = error.args[0]
    if cause.code() in _FENCED:
        return TakenOver(f"another bridge copies the same log to this site: {cause.str()}")
    return Unavailable(f"Kafka of this site refused a transaction: {cause.str()}")
