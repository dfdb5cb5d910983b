"""Writes rows to the changelogs of both tables, many partitions in one transaction.

Workers write their changelogs with one transactional producer for each table partition.  An import
or a rescale has all partitions to itself and uses one producer for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from streams.errors import StreamsError, Unavailable
from streams.kafka.clients import open_producer

ROWS_PER_TRANSACTION: Final = 100_000
BYTES_PER_TRANSACTION: Final = 64 << 20
ANSWER_SECONDS: Final = 120.0
"""How long Kafka may not answer."""

TopicRow = tuple[str, int, bytes, bytes | None]
"""Changelog topic, partition, raw key, value; no value removes a row."""


class ChangelogRows:
    """One writer of rows; a context manager that commits nothing at its end."""

    def __init__(self, client: Mapping[str, Any], transactional_id: str) -> None:
        """Fence another writer of the same id, and abort what it left open.

        Raises:
            Unavailable: Kafka does not answer.
        """
        self._producer = open_producer(
            client,
            {
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 300_000,
                "compression.type": "lz4",
                "linger.ms": 20,
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 64 * 1024,
                "batch.size": 524_288,
            },
        )
        self._open = False
        self._call("begin", lambda: self._producer.init_transactions(5.0))

    def __enter__(self) -> ChangelogRows:
        """Return the writer itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Drop what is not committed; Kafka aborts it later if it does not answer now."""
        with suppress(KafkaException):
            self._producer.purge()
            if self._open:
                self._producer.abort_transaction(5.0)
            self._producer.poll(0)

    def write_all(self, rows: Iterator[TopicRow], report: Callable[[int], None]) -> int:
        """Write rows in as many transactions as they need; return how many; raises like `write`.

        Args:
            rows: any number of them.
            report: receives how many are committed so far.
        """
        written = 0
        for first in rows:
            written += self.write(_transaction(first, rows))
            report(written)
        return written

    def write(self, rows: Iterable[TopicRow]) -> int:
        """Write rows in one transaction; return how many.

        Raises:
            Unavailable: Kafka does not answer.
            StreamsError: Kafka has refused them, or another import or rescale has begun.
        """
        producer = self._producer
        self._call("begin", producer.begin_transaction)
        self._open = True
        count = 0
        produce = producer.produce
        for topic, partition, key, value in rows:
            count += 1
            try:
                produce(topic, value, key, partition)
            except BufferError:
                self._wait_for_room(partial(produce, topic, value, key, partition))
            except KafkaException as error:
                raise _refused(error) from error
        self._call("commit", lambda: producer.commit_transaction(5.0))
        self._open = False
        return count

    def _wait_for_room(self, again: Callable[[], None]) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            self._producer.poll(0.05)
            try:
                again()
                return
            except BufferError:
                if time.monotonic() > deadline:
                    raise Unavailable("Kafka takes no rows any more; repeat the command") from None
            except KafkaException as error:
                raise _refused(error) from error

    def _call(self, what: str, call: Callable[[], Any]) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                call()
                return
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if not cause.retriable() or cause.fatal():
                    raise _refused(error) from error
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Kafka does not {what} a transaction ({cause.str()}); repeat the command"
                    ) from error
            time.sleep(0.1)


def _refused(error: KafkaException) -> StreamsError:
    return StreamsError(f"Kafka refused rows: {error.args[0].str()}; repeat the command to go on")


def _transaction(first: TopicRow, others: Iterator[TopicRow]) -> Iterator[TopicRow]:
    """Yield the rows of one transaction."""
    size = count = 0
    row: TopicRow | None = first
    while row is not None:
        yield row
        count += 1
        size += len(row[2]) + len(row[3] or b"")
        if count == ROWS_PER_TRANSACTION or size >= BYTES_PER_TRANSACTION:
            return
        row = next(others, None)
