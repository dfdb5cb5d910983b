"""The evidence of one run as plain data: logs, tables, and answers to clients.

Knows neither Kafka nor HTTP: `gathering` fills it from a real system, tests construct it.
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
    """One event of `group-events`, with its position in the log."""

    partition: int
    offset: int
    timestamp: int
    event: GroupEvent


@dataclass(frozen=True, slots=True)
class ReadStep:
    """One answer to a consumer that read the deliveries after a seq."""

    after: int
    deliveries: tuple[QueuedMessage, ...]
    complete: bool
    """Whether the answer held everything, and was not cut off by its limit."""


@dataclass(frozen=True, slots=True)
class AckStep:
    """A consumer sent an ack; from here on these deliveries may be gone."""

    upto: int | None
    seqs: tuple[int, ...] = ()


Step = ReadStep | AckStep


@dataclass(slots=True)
class Answers:
    """All answers to clients."""

    messages: dict[LogPosition, tuple[str, str]] = field(default_factory=dict)
    """Confirmed messages: the log position of each, and its (group, id)."""
    changes: Counter[Change] = field(default_factory=Counter)
    """Confirmed binds and unbinds."""
    placed: dict[LogPosition, Change] = field(default_factory=dict)
    """Changes whose position in the log is known."""
    confirmed: int = 0
    """Confirmed events of all kinds; a repeated one counts once."""
    refused: int = 0
    unknown: int = 0
    """Events neither confirmed nor refused: each may or may not be in the log."""
    dishonest: list[str] = field(default_factory=list)
    """Answers that violate the contract: a 500, a 503 without Retry-After, a broken body."""
    consumers: dict[str, list[Step]] = field(default_factory=dict)
    """Per queue, the steps of its only consumer, in order."""


@dataclass(slots=True)
class Tables:
    """The live tables, after everything was folded."""

    members: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """(group, queue) -> session of the binding, from the table `members`."""
    bindings: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """The same, from the table `queues`."""
    inboxes: dict[str, list[QueuedMessage]] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    live: dict[TablePartition, list[Row]] = field(default_factory=dict)
    """Every row, in the order of the raw keys."""
    refolded: dict[TablePartition, list[Row]] = field(default_factory=dict)
    """The same, rebuilt from the source topic."""
    restored: dict[TablePartition, list[Row]] = field(default_factory=dict)
    """The same, from the changelog."""


@dataclass(slots=True)
class Evidence:
    """Everything that the checker examines."""

    log: list[LogEntry] = field(default_factory=list)
    """Valid events of `group-events`, in order within each partition."""
    acks: list[Ack] = field(default_factory=list)
    """Acks of `queue-events`, in order within each partition."""
    answers: Answers = field(default_factory=Answers)
    tables: Tables = field(default_factory=Tables)
    poison: int = 0
    """Number of broken records written to the topics."""
    dead_letters: list[str] = field(default_factory=list)
    """The reason of each dead letter."""
    stalls: dict[TablePartition, float] = field(default_factory=dict)
    """Longest time in seconds without progress, of each partition with work."""
    untouched: set[TablePartition] = field(default_factory=set)
    """Partitions that the fault must not affect."""
    unfinished: list[str] = field(default_factory=list)
    """Descriptions of what did not finish in time."""
