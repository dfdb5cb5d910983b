"""What was seen of one run, as plain data: the logs, the tables, the answers to clients.

Knows neither Kafka nor HTTP: `gathering` fills it from a real system, tests make it up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.events.records import Ack
from streams.lab.workload.model import GroupEvent, QueuedMessage

LogPosition = tuple[int, int]
"""Partition and offset."""
Row = tuple[bytes, bytes]
"""Raw key and value."""
TablePartition = tuple[str, int]

Change = tuple[str, str, str]
"""A bind or unbind for counting: record type, group, queue."""


class LogEntry(NamedTuple):
    """One event of `group-events` as it stands in the log."""

    partition: int
    offset: int
    timestamp: int
    event: GroupEvent


@dataclass(frozen=True, slots=True)
class ReadStep:
    """One answer to a consumer who asked for what comes after a seq."""

    after: int
    deliveries: tuple[QueuedMessage, ...]
    complete: bool
    """Whether it was all that there was: the answer was not cut short by its limit."""


@dataclass(frozen=True, slots=True)
class AckStep:
    """A consumer began to ack; from here on these deliveries may be gone."""

    upto: int | None
    seqs: tuple[int, ...] = ()


Step = ReadStep | AckStep


@dataclass(slots=True)
class Answers:
    """What clients were told."""

    messages: dict[LogPosition, tuple[str, str]] = field(default_factory=dict)
    """Confirmed messages: where Kafka has each, and its (group, id)."""
    changes: Counter[Change] = field(default_factory=Counter)
    """Confirmed binds and unbinds."""
    placed: dict[LogPosition, Change] = field(default_factory=dict)
    """Those whose place in the log is known."""
    confirmed: int = 0
    """Events of all kinds that were confirmed; one that was sent again counts once."""
    refused: int = 0
    unknown: int = 0
    """Events that were neither confirmed nor refused: each may stand in the log or not."""
    dishonest: list[str] = field(default_factory=list)
    """Answers that the contract rules out: a 500, a 503 without Retry-After, a broken body."""
    consumers: dict[str, list[Step]] = field(default_factory=dict)
    """Per queue what its only consumer did and saw, in order."""


@dataclass(slots=True)
class Tables:
    """The live tables, once everything was folded."""

    members: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """(group, queue) -> session of the binding, by the table `members`."""
    bindings: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """The same by the table `queues`."""
    inboxes: dict[str, list[QueuedMessage]] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    live: dict[TablePartition, list[Row]] = field(default_factory=dict)
    """Every row, in the order of the raw keys."""
    refolded: dict[TablePartition, list[Row]] = field(default_factory=dict)
    """The same, built again from the source topic."""
    restored: dict[TablePartition, list[Row]] = field(default_factory=dict)
    """The same, as the changelog has it."""


@dataclass(slots=True)
class Evidence:
    """Everything that the checker judges."""

    log: list[LogEntry] = field(default_factory=list)
    """Events of `group-events` that mean something, each partition in its order."""
    acks: list[Ack] = field(default_factory=list)
    """Acks of `queue-events`, each partition in its order."""
    answers: Answers = field(default_factory=Answers)
    tables: Tables = field(default_factory=Tables)
    poison: int = 0
    """Broken records that were put into the topics."""
    dead_letters: list[str] = field(default_factory=list)
    """The reasons of all dead letters."""
    stalls: dict[TablePartition, float] = field(default_factory=dict)
    """Longest time in which a partition with work did not go on, in seconds."""
    untouched: set[TablePartition] = field(default_factory=set)
    """Partitions that the fault should not have touched."""
    unfinished: list[str] = field(default_factory=list)
    """What did not come to rest in time, in words."""
