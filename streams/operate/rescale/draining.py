"""Folds what is left in the logs of a namespace without workers, as a worker would.

What the folds send is appended to the logs and folded in turn, until nothing is left.  Rows and
positions go to the changelogs, outputs first, so that a worker, or this, can go on after a crash.
No Ticks are appended: what is due waits for the workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

from confluent_kafka import KafkaException

from streams.engine.changelog import MARKER, pack_marker
from streams.engine.dead_letters import dead_letter
from streams.engine.overlay import OverlayRows
from streams.errors import StreamsError, Unavailable
from streams.fold import BadRecord, Fold, NotKnownYet, Output, Record
from streams.folds.tables import TABLES
from streams.kafka.clients import open_producer
from streams.operate.backup.changelog_rows import ChangelogRows, TopicRow
from streams.operate.backup.committed import CommittedReader, log_ends
from streams.operate.backup.snapshot import Report, TableSnapshot
from streams.operate.rebuild import fold_factory, source_topic
from streams.operate.topic_log import TopicLog, as_record
from streams.settings import Settings

_ROWS_IN_MEMORY: Final = 50_000
_CONFIRM_SECONDS: Final = 120.0


class Drain:
    """All partitions of both tables, and their logs; a context manager."""

    def __init__(
        self,
        settings: Settings,
        log: TopicLog,
        tables: Mapping[str, TableSnapshot],
        changelogs: ChangelogRows,
    ) -> None:
        """Prepare; `tables` are as of the ends of their changelogs, and nobody else writes."""
        self._settings, self._log, self._tables = settings, log, tables
        self._changelogs = changelogs
        self._out = _Out(settings)
        self.positions = {table: tables[table].positions for table in TABLES}
        """Up to where each partition of the source of a table is folded."""
        self._saved = {table: list(places) for table, places in self.positions.items()}
        numbers = range(len(self.positions[TABLES[0]]))
        self._numbers = numbers
        self._rows: dict[str, list[OverlayRows]] = {}
        self._folds: dict[str, list[Fold]] = {}
        for table in TABLES:
            factory = fold_factory(settings, table, log.numbers())
            rows = self._rows[table] = [tables[table].rows(number) for number in numbers]
            self._folds[table] = [factory(rows[number], number) for number in numbers]
        self._stack = ExitStack()
        self._readers = {
            table: self._stack.enter_context(
                CommittedReader(settings.librdkafka(), source_topic(settings, table))
            )
            for table in TABLES
        }

    def __enter__(self) -> Drain:
        """Return the drain itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the clients."""
        self._stack.close()

    def run(self, report: Report = lambda _: None) -> None:
        """Fold until both logs have nothing more; `report` gets the number of records folded.

        Raises:
            StreamsError: a log lacks records, or has some that this version cannot fold.
            Unavailable: Kafka or the schema registry does not answer.
        """
        done = 0
        while (ends := self._ends()) != self.positions:
            for table in TABLES:
                for count in self._fold(table, ends[table]):
                    done += count
                    report(done)
                    if self._pending > _ROWS_IN_MEMORY:
                        self._save()
                self.positions[table] = ends[table]  # control records may be at the end
            self._save()

    @property
    def _pending(self) -> int:
        return sum(rows.pending for some in self._rows.values() for rows in some)

    def _ends(self) -> dict[str, list[int]]:
        client = self._settings.librdkafka()
        return {
            table: log_ends(client, source_topic(self._settings, table), self._numbers)
            for table in TABLES
        }

    def _fold(self, table: str, ends: list[int]) -> Iterator[int]:
        reader, places = self._readers[table], self.positions[table]
        topic = source_topic(self._settings, table)
        for number, place in enumerate(places):
            low, _ = reader.bounds(number)
            if place < low and place < ends[number]:
                raise StreamsError(
                    f"{topic} {number} begins at offset {low}, and {table} is folded up to {place}:"
                    " retention has deleted what lies between"
                )
        for batch in reader.read(dict(enumerate(places)), dict(enumerate(ends))):
            for number, messages in batch.items():
                fold = self._folds[table][number]
                for message in messages:
                    record = as_record(message)
                    self._out.send(self._fold_one(fold, topic, record))
                    places[number] = record.offset + 1
                fold.flush()
                self._out.send(_taken(fold))
                yield len(messages)

    def _fold_one(self, fold: Fold, topic: str, record: Record) -> list[Output]:
        try:
            value = self._log.translated(topic, record.value)
            for _ in fold.apply(record._replace(value=value)) or ():
                pass
        except NotKnownYet as error:
            raise Unavailable(
                f"{topic} {record.partition} offset {record.offset} cannot be read: {error}"
            ) from error
        except BadRecord as error:
            self._out.dead_letter(topic, record, str(error))
            return []
        while fold.work:
            fold.flush()  # outputs packed earlier go first
            for _ in fold.work.popleft():
                pass
        return _taken(fold)

    def _save(self) -> None:
        """Make rows and positions durable, after what was sent."""
        self._out.flush()
        layers = {table: [rows.freeze() for rows in some] for table, some in self._rows.items()}

        def of(table: str, number: int) -> Iterator[tuple[bytes, bytes | None]]:
            yield from layers[table][number].rows()
            if self.positions[table][number] != self._saved[table][number]:
                yield MARKER, pack_marker(self.positions[table][number])

        places = [(table, number) for table in TABLES for number in self._numbers]
        rows: Iterable[TopicRow] = (
            (self._settings.changelog(table), number, key, value)
            for table, number in places
            for key, value in of(table, number)
        )
        self._changelogs.write(rows)
        for table, number in places:
            database = self._tables[table].databases[number]
            database.write(of(table, number), database.next_offset, 0, bytes(16))
            self._rows[table][number].thaw()
        self._saved = {table: list(some) for table, some in self.positions.items()}


def _taken(fold: Fold) -> list[Output]:
    outputs, fold.ready[:] = list(fold.ready), []
    return outputs


class _Out:
    """Appends outputs and dead letters, in order."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.dead_letters
        self._failed: list[str] = []
        self._producer = open_producer(
            settings.librdkafka(),
            {
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.max.bytes": 4 << 20,
                "linger.ms": 20,
            },
        )

    def send(self, outputs: Iterable[Output]) -> None:
        for topic, partition, key, value, kind in outputs:
            self._put(topic, partition, key, value, [("type", kind.encode())])

    def dead_letter(self, topic: str, record: Record, reason: str) -> None:
        key, value, headers = dead_letter(topic, record, reason)
        self._put(self._topic, record.partition, key, value, headers)

    def flush(self) -> None:
        """Wait until Kafka has confirmed all of it."""
        if self._producer.flush(_CONFIRM_SECONDS) or self._failed:
            reason = self._failed[0] if self._failed else "no answer"
            raise Unavailable(f"Kafka has not confirmed what the folds send: {reason}; repeat it")

    def _put(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any
    ) -> None:
        deadline = time.monotonic() + _CONFIRM_SECONDS
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, headers=headers, on_delivery=self._heard
                )
                self._producer.poll(0)
                return
            except BufferError:
                if time.monotonic() > deadline:
                    raise Unavailable(f"Kafka takes no records of {topic}; repeat it") from None
                self._producer.poll(0.05)
            except KafkaException as error:
                raise StreamsError(f"Kafka refused a record: {error.args[0].str()}") from error

    def _heard(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failed.append(error.str())
