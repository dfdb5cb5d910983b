"""Feeds events to one fold, as a log of one partition would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from streams.engine.testing import MemoryRows
from streams.events.codec import decode, encode
from streams.events.records import (
    Bind,
    BindPattern,
    Event,
    Level,
    Message,
    Routed,
    Tick,
    Unbind,
    UnbindPattern,
)
from streams.fold import Fold, FoldRun, Output, Record
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.route import Route
from streams.folds.row_keys import FOUNDATION
from streams.kafka.partitioner import partition_of

TICK_KEY = b"tick"
"""Key of a Tick, where there is one partition."""

F = TypeVar("F", bound=Fold)


def apply(fold: Fold, record: Record) -> Iterator[None]:
    """Fold one record as the engine does: with the native core if it takes it; yield its turns."""
    begin = getattr(fold, "begin_run", None)  # isinstance of a protocol costs more than the fold
    run: FoldRun | None = begin([record]) if begin is not None else None
    while run is not None:
        folded, others = run.step(0)
        if folded:
            return
        if others:
            break
        yield
    yield from fold.apply(record) or ()


def key_of(event: Event) -> bytes:
    """Return the Kafka key that an event has."""
    match event:
        case Bind() | BindPattern() | Unbind() | UnbindPattern() | Message():
            return event.group.encode()
        case Routed():
            queues = event.change_queues or event.delivery_queues[0]
            return queues[0].encode()
        case Tick() | Level():
            return TICK_KEY
        case _:
            return event.queue.encode()


def tick_key(partition: int, partitions: int) -> bytes:
    """Return a key that belongs to a partition."""
    names = (b"tick-%d" % number for number in range(1000))
    return next(name for name in names if partition_of(name, partitions) == partition)


class Feed(Generic[F]):
    """A fold, its rows, and the log that it has seen so far."""

    def __init__(self, fold: F, rows: MemoryRows, partition: int = 0) -> None:
        self.fold = fold
        self.rows = rows
        self.partition = partition
        self.offset = 0
        self.turns = 0
        """How often the last event gave the event loop a turn."""

    def __call__(self, *events: Event, at: int = 1000) -> list[Event]:
        """Fold events that the log has from time `at`; return what comes out of it."""
        for event in events:
            self.raw(key_of(event), encode(event), at)
        return [decode(output.value) for output in self.outputs()]

    def raw(self, key: bytes | None, value: bytes | None, at: int = 1000) -> None:
        record = Record(self.partition, self.offset, at, key, value)
        self.offset += 1
        self.turns = 0
        for _ in apply(self.fold, record):
            self.turns += 1

    def outputs(self) -> list[Output]:
        while self.fold.work:
            if next(self.fold.work[0], False) is False:
                self.fold.work.popleft()
            else:
                self.turns += 1
        self.fold.flush()
        finished = list(self.fold.ready)
        self.fold.ready.clear()
        return finished


NO_NUMBERS = LogNumbers(0, 0)
"""For logs whose records need no numbers, so that tests may leave them out."""


def route(
    partitions: int = 1,
    partition: int = 0,
    window_ms: int = 600_000,
    logs: LogNumbers = NO_NUMBERS,
    rows: MemoryRows | None = None,
) -> Feed[Route]:
    rows = MemoryRows() if rows is None else rows
    fold = Route(rows, partition, partitions, "queue-events", logs, window_ms)
    return Feed(fold, rows, partition)


def deliver(
    partitions: int = 1, partition: int = 0, logs: LogNumbers = NO_NUMBERS, base: int = 0
) -> Feed[Deliver]:
    rows = MemoryRows()
    if base:
        rows.put(FOUNDATION, b"", base.to_bytes(8, "big"))
    return Feed(Deliver(rows, partition, partitions, "group-events", logs), rows, partition)
