"""Reads source topics in chunks, in its own thread.

aiokafka handles group membership (see `streams.engine.transport`).  librdkafka fetches: it
reads, checks and decompresses outside the GIL and includes every partition in each fetch.
The engine keeps positions: a partition is read from the offset of its checkpoint, never
from the group's committed offset.  Knows Kafka, not Faust.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.fold import Record
from streams.kafka.clients import open_reader
from streams.repeats import REPEATING

logger = logging.getLogger(__name__)

Source = tuple[str, int]
"""Topic and partition number."""


@dataclass(slots=True)
class Chunk:
    """Records of one partition that were fetched together, in order.

    `begin` is the reader's position before them.  If it is higher than the partition expects,
    an earlier chunk was dropped.  `records` may be empty if the offsets from `begin` to `end`
    hold no records, only control records for example.  `epoch` is that of the `assign` call
    under which the chunk was read.
    """

    topic: str
    partition: int
    begin: int
    end: int
    records: list[Record]
    high: int
    """End of the partition's log when the chunk was read, as the client knew it."""
    epoch: int
    size: int = 0
    """Bytes of the values of all records."""

    @property
    def weight(self) -> int:
        """Its share of the backlog: its records plus its KiB."""
        return len(self.records) + self.size // 1024


class SourceReader:
    """Fetches the assigned partitions and hands chunks to the event loop.

    `deliver` is called in the event loop with a list of chunks.  `chunk_records` limits the
    records of one delivery, `chunk_bytes` the values of one chunk.  A partition with more than
    `backlog_records` (records plus KiB) delivered but not `done` is paused until it has caught
    up, so that a partition that stands still neither fills the memory nor stops the others.
    `pause` lengthens the wait for records; commands wait for as long.
    """

    POLL_SECONDS = 0.05
    PACE_SECONDS = 0.001
    """Least time between two deliveries; records that arrive meanwhile are delivered together.

    A single record is not delayed, and under load many share the cost of a delivery.  The
    reader also waits until the event loop has taken the last delivery: a busy loop gets few
    large ones.
    """
    TAKEN_SECONDS = 0.5
    """How long the reader waits for the event loop."""

    def __init__(
        self,
        client: Mapping[str, Any],
        group: str,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[list[Chunk]], None],
        chunk_records: int,
        chunk_bytes: int,
        fetch_kbytes: int = 16_384,
        backlog_records: int = 10_000,
        pause: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        self._loop = loop
        self._deliver = deliver
        self._chunk_records = chunk_records
        self._chunk_bytes = chunk_bytes
        self._backlog_records = backlog_records
        self._pause = pause
        self._commands: deque[Callable[[], None]] = deque()
        self._expected: dict[Source, int] = {}
        self._epochs: dict[Source, int] = {}
        self._backlog: dict[Source, int] = {}
        self._paused: set[Source] = set()
        self._ends: dict[Source, int] = {}
        self._taken = threading.Event()
        self._taken.set()
        self._running = True
        self.failure: BaseException | None = None
        self.turns = 0
        """Increases as long as the thread runs."""
        self._open = partial(
            open_reader,
            client,
            f"{group}-reader",
            {
                "enable.partition.eof": True,
                "queued.min.messages": max(1_000, chunk_records),
                "queued.max.messages.kbytes": fetch_kbytes,
                "fetch.wait.max.ms": 500,
                "fetch.queue.backoff.ms": 5,
                "fetch.error.backoff.ms": 100,
            },
        )
        self._consumer = self._open()
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)
        self._thread.start()

    # Called in the event loop -------------------------------------------------------

    def assign(self, source: Source, offset: int, epoch: int) -> None:
        """Read a partition from `offset`; replaces an earlier assignment of it."""
        self._commands.append(lambda: self._assign(source, offset, epoch))

    def unassign(self, source: Source) -> None:
        """Stop reading a partition."""
        self._commands.append(lambda: self._unassign(source))

    def renew(self) -> None:
        """Go on with a new client, at the same positions: the present one delivers nothing."""
        self._commands.append(self._renew)

    def done(self, chunk: Chunk) -> None:
        """Count a delivered chunk as folded or dropped."""
        self._commands.append(lambda: self._done(chunk))

    def end(self, source: Source) -> int | None:
        """Return the end of a partition's log (next offset), or None if it is not known."""
        return self._ends.get(source)

    def condition(self) -> dict[str, Any]:
        """Return what it reads, ready for JSON; the thread may be changing it meanwhile."""
        backlog, paused = dict(self._backlog), set(self._paused)
        return {
            "turns": self.turns,
            "commands_waiting": len(self._commands),
            "delivery_taken": self._taken.is_set(),
            "partitions": [
                {
                    "topic": source[0],
                    "partition": source[1],
                    "next": offset,
                    "end": self._ends.get(source),
                    "backlog": backlog.get(source, 0),
                    "paused": source in paused,
                }
                for source, offset in sorted(dict(self._expected).items())
            ],
        }

    def close(self) -> None:
        """Stop the thread. Blocks until it has ended."""
        self._running = False
        self._thread.join(timeout=10.0)

    def _take(self, chunks: list[Chunk]) -> None:
        self._taken.set()
        self._deliver(chunks)

    # Runs in the thread -------------------------------------------------------------

    def _run(self) -> None:
        try:
            next_read = 0.0
            while self._running:
                self.turns += 1
                while self._commands:
                    self._commands.popleft()()
                early = next_read - time.monotonic()
                if early > 0:
                    time.sleep(early)
                self._taken.wait(self.TAKEN_SECONDS)
                if self._read():
                    next_read = time.monotonic() + self.PACE_SECONDS
        except BaseException as exc:  # the engine reports it and ends the worker
            self.failure = exc
            logger.critical("the source thread failed; the worker will exit", exc_info=exc)
        finally:
            self._consumer.close()

    def _read(self) -> bool:
        first = self._consumer.poll(self._pause(self.POLL_SECONDS))
        if first is None:
            return False
        chunks = self._chunks([first, *self._consumer.consume(self._chunk_records, 0)])
        if not chunks:
            return True
        for chunk in chunks:
            source = (chunk.topic, chunk.partition)
            backlog = self._backlog.get(source, 0) + chunk.weight
            self._backlog[source] = backlog
            if backlog > self._backlog_records and source not in self._paused:
                self._paused.add(source)
                self._consumer.pause([TopicPartition(*source)])
        self._taken.clear()
        self._loop.call_soon_threadsafe(self._take, chunks)
        return True

    def _chunks(self, messages: Sequence[Any]) -> list[Chunk]:
        runs: dict[Source, list[Record]] = {}
        ends: dict[Source, int] = {}
        last: Source | None = None
        new = tuple.__new__
        records: list[Record] = []
        for message in messages:
            source = (message.topic(), message.partition())
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    ends[source] = message.offset()
                    runs.setdefault(source, [])
                elif error.fatal():
                    raise KafkaException(error)
                else:
                    logger.info("source %s/%d: %s", *source, error.str(), extra=REPEATING)
                continue
            if source != last:
                records = runs.setdefault(source, [])
                last = source
            records.append(
                new(  # Record(...) costs three times as much
                    Record,
                    (
                        source[1],
                        message.offset(),
                        message.timestamp()[1],
                        message.key(),
                        message.value(),
                    ),
                )
            )
        chunks = []
        for source, records in runs.items():
            expected = self._expected.get(source)
            if expected is None:
                continue  # no longer assigned
            if records and records[0].offset < expected:
                records = [record for record in records if record.offset >= expected]
            end = records[-1].offset + 1 if records else expected
            # Control records take offsets, but are never delivered.
            end = max(end, ends.get(source, end))
            if end == expected:
                continue
            high = self._high(source, end)
            epoch = self._epochs[source]
            *before, (last_records, last_size) = self._bounded(records)
            for some, size in before:
                some_end = some[-1].offset + 1
                chunks.append(Chunk(*source, expected, some_end, some, high, epoch, size))
                expected = some_end
            chunks.append(Chunk(*source, expected, end, last_records, high, epoch, last_size))
            self._expected[source] = end
        return chunks

    def _bounded(self, records: list[Record]) -> list[tuple[list[Record], int]]:
        """Split a run of records so that each part fits into `chunk_bytes`.

        Returns:
            the parts, each with the bytes of its values.
        """
        sizes = [len(record.value or b"") for record in records]
        total = sum(sizes)
        if total <= self._chunk_bytes:
            return [(records, total)]
        runs: list[tuple[list[Record], int]] = []
        run: list[Record] = []
        total = 0
        for record, size in zip(records, sizes, strict=True):
            if run and total + size > self._chunk_bytes:
                runs.append((run, total))
                run, total = [], 0
            run.append(record)
            total += size
        return [*runs, (run, total)]

    def _high(self, source: Source, end: int) -> int:
        try:
            _low, high = self._consumer.get_watermark_offsets(TopicPartition(*source), cached=True)
        except KafkaException:
            high = end
        high = max(high, end)
        self._ends[source] = high
        return high

    def _assign(self, source: Source, offset: int, epoch: int) -> None:
        self._drop(source)
        self._expected[source] = offset
        self._epochs[source] = epoch
        self._consumer.incremental_assign([TopicPartition(*source, offset)])

    def _unassign(self, source: Source) -> None:
        self._drop(source)
        self._ends.pop(source, None)

    def _renew(self) -> None:
        before, self._consumer = self._consumer, self._open()
        self._paused.clear()  # what has too much of a backlog is paused with its next chunk
        # What the old client holds but has not delivered is fetched again.
        if self._expected:
            self._consumer.incremental_assign(
                [TopicPartition(*source, at) for source, at in self._expected.items()]
            )
        threading.Thread(target=before.close, name="old source", daemon=True).start()

    def _drop(self, source: Source) -> None:
        self._paused.discard(source)
        if self._expected.pop(source, None) is not None:
            # librdkafka keeps a pause across unassign and assign: it would never be read again.
            self._consumer.resume([TopicPartition(*source)])
            self._consumer.incremental_unassign([TopicPartition(*source)])
        self._epochs.pop(source, None)
        self._backlog.pop(source, None)

    def _done(self, chunk: Chunk) -> None:
        source = (chunk.topic, chunk.partition)
        if self._epochs.get(source) != chunk.epoch:
            return
        left = self._backlog[source] = self._backlog.get(source, 0) - chunk.weight
        if source in self._paused and left <= self._backlog_records // 4:
            self._paused.discard(source)
            self._consumer.resume([TopicPartition(*source)])
