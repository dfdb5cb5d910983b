"""Both logs and both folds in memory, with all that may happen to the workers.

Each table partition has an owner, which folds its log in chunks and appends what comes out
to the other log.  An owner may crash anywhere, also when only some of its output is in the
log; the next one begins at any checkpoint.  It may also be a zombie beside the next owner,
and go on for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from feeding import apply, key_of, tick_key

from streams.engine.testing import MemoryRows
from streams.events.codec import encode
from streams.events.records import Event, Tick
from streams.fold import BadRecord, Fold, Output, Record
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.route import Route
from streams.kafka.partitioner import partition_of

Table = Literal["members", "queues"]
TABLES: tuple[Table, ...] = ("members", "queues")
SOURCE = {"members": "group-events", "queues": "queue-events"}

WINDOW_MS = 1000
LOGS = LogNumbers((1 << 63) - 1, 77)


@dataclass(frozen=True)
class Checkpoint:
    """A state and the offset of the first record that is not in it."""

    rows: MemoryRows
    position: int


@dataclass
class Incarnation:
    """One life of the owner of a table partition."""

    rows: MemoryRows
    position: int
    fold: Fold


@dataclass
class Seat:
    """A table partition: who owns it, who did, and from where to begin again."""

    owner: Incarnation
    checkpoints: list[Checkpoint]
    zombies: list[Incarnation] = field(default_factory=list)


class TwoLogs:
    """The two logs and the folds between them."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.clock = 1_000_000
        self.logs: dict[str, list[list[Record]]] = {
            topic: [[] for _ in range(partitions)] for topic in SOURCE.values()
        }
        self.seats: dict[tuple[Table, int], Seat] = {}
        self.refused = 0
        for table in TABLES:
            for partition in range(partitions):
                start = Checkpoint(MemoryRows(), 0)
                self.seats[table, partition] = Seat(self._begin(table, partition, start), [start])

    # What clients do

    def publish(self, event: Event) -> None:
        """Append an event, as a client would."""
        key = key_of(event)
        topic = "group-events" if hasattr(event, "group") else "queue-events"
        self.append(topic, partition_of(key, self.partitions), key, encode(event))

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """Append any record."""
        log = self.logs[topic][partition]
        log.append(Record(partition, len(log), self.clock, key, value))

    # What happens to workers

    def work(self, table: Table, partition: int, count: int) -> None:
        """Let the owner fold a chunk of up to `count` records."""
        owner = self.seats[table, partition].owner
        self._append(self._chunk(table, partition, owner, count))

    def everyone(self, count: int) -> None:
        """Let all owners fold a chunk."""
        for table, partition in self.seats:
            self.work(table, partition, count)

    def later(self, table: Table, partition: int, steps: int) -> None:
        """Let the owner do some of what its records left to be done."""
        self._append(_proceed(self.seats[table, partition].owner, steps))

    def checkpoint(self, table: Table, partition: int) -> None:
        """Keep the owner's state; all that it has put out is in the log."""
        seat = self.seats[table, partition]
        if seat.owner.fold.work:
            return
        seat.checkpoints.append(Checkpoint(seat.owner.rows.copy(), seat.owner.position))

    def crash(self, table: Table, partition: int, count: int, kept: list[int], back: int) -> None:
        """Let the owner die within a chunk, and another begin at the checkpoint `back` before.

        Of the chunk's output, the log of each partition has as many records as `kept` says.
        """
        seat = self.seats[table, partition]
        self._append(_some(self._chunk(table, partition, seat.owner, count), kept))
        seat.owner = self._begin(table, partition, _of(seat.checkpoints, back))

    def pause(self, table: Table, partition: int, back: int) -> None:
        """Make the owner a zombie: another begins at the checkpoint `back` before."""
        seat = self.seats[table, partition]
        seat.zombies.append(seat.owner)
        seat.owner = self._begin(table, partition, _of(seat.checkpoints, back))

    def wake(self, table: Table, partition: int, count: int, kept: list[int] | None) -> None:
        """Let the last zombie fold a chunk; with `kept`, it dies as in `crash`."""
        seat = self.seats[table, partition]
        if seat.zombies:
            outputs = self._chunk(table, partition, seat.zombies[-1], count)
            outputs += _proceed(seat.zombies[-1], count)
            self._append(outputs if kept is None else _some(outputs, kept))
            if kept is not None:
                seat.zombies.pop()

    def settle(self) -> None:
        """Let all owners fold all there is."""
        busy = True
        while busy:
            busy = False
            for (table, partition), seat in self.seats.items():
                if seat.owner.position < len(self.logs[SOURCE[table]][partition]):
                    self.work(table, partition, 1000)
                    busy = True
                if seat.owner.fold.work:
                    self.later(table, partition, 1000)
                    busy = True
                if self._tick(partition, seat.owner.fold):
                    busy = True

    def _tick(self, partition: int, fold: Fold) -> bool:
        """Append a Tick if something is due, as the owner of a partition does."""
        due = fold.next_due if isinstance(fold, Deliver) else None
        if due is None or due > self.clock:
            return False
        key = tick_key(partition, self.partitions)
        self.append("queue-events", partition, key, encode(Tick(self.clock)))
        return True

    # What is to be seen in the end

    def rows(self, table: Table) -> list[MemoryRows]:
        """Return the rows of all partitions of a table."""
        return [self.seats[table, partition].owner.rows for partition in range(self.partitions)]

    def rebuilt(self, table: Table, chunk: int) -> list[MemoryRows]:
        """Build a table again from the logs as they are, in chunks of that size."""
        result = []
        for partition in range(self.partitions):
            fresh = self._begin(table, partition, Checkpoint(MemoryRows(), 0))
            while fresh.position < len(self.logs[SOURCE[table]][partition]):
                self._chunk(table, partition, fresh, chunk)
            _proceed(fresh, 1_000_000)
            result.append(fresh.rows)
        return result

    def _begin(self, table: Table, partition: int, start: Checkpoint) -> Incarnation:
        rows = start.rows.copy()
        if table == "members":
            fold: Fold = Route(rows, partition, self.partitions, "queue-events", LOGS, WINDOW_MS)
        else:
            fold = Deliver(rows, partition, self.partitions, "group-events", LOGS)
        return Incarnation(rows, start.position, fold)

    def _chunk(self, table: Table, partition: int, worker: Incarnation, count: int) -> list[Output]:
        log = self.logs[SOURCE[table]][partition]
        for record in log[worker.position : worker.position + count]:
            before = list(worker.rows.items())
            try:
                for _ in apply(worker.fold, record):
                    pass
            except BadRecord:
                self.refused += 1
                assert list(worker.rows.items()) == before, "a refused record changed rows"
            worker.position += 1
        worker.fold.flush()
        outputs = list(worker.fold.ready)
        worker.fold.ready.clear()
        return outputs

    def _append(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            assert partition_of(output.key, self.partitions) == output.partition
            self.append(output.topic, output.partition, output.key, output.value)


def _proceed(worker: Incarnation, steps: int) -> list[Output]:
    fold = worker.fold
    while fold.work and steps > 0:
        steps -= 1
        if next(fold.work[0], False) is False:
            fold.work.popleft()
    outputs = list(fold.ready)
    fold.ready.clear()
    return outputs


def _of(checkpoints: list[Checkpoint], back: int) -> Checkpoint:
    return checkpoints[-1 - back % len(checkpoints)]


def _some(outputs: list[Output], kept: list[int]) -> Iterable[Output]:
    left = list(kept)
    for output in outputs:
        if left[output.partition] > 0:
            left[output.partition] -= 1
            yield output
