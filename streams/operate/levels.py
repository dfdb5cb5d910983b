"""The levels of the folds in a running system, and how to raise them.

A new version folds as the former one did until the logs say otherwise; `streams.folds.levels`
says why.  What is here tells from the answers of the workers whether all of them know a level,
and appends the records that raise it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streams.amounts import counted
from streams.errors import StreamsError, Unavailable
from streams.events.codec import encode
from streams.events.records import Level
from streams.folds.log_numbers import log_number
from streams.folds.tables import MEMBERS, TABLES
from streams.kafka.clients import open_producer
from streams.kafka.partitioner import own_key
from streams.kafka.topics import topic_ids
from streams.settings import Settings

CONFIRM_SECONDS = 60.0
"""How long Kafka may take to confirm the records."""


class Worker(NamedTuple):
    """What a worker reports of itself: empty and 0 stand for what it does not report."""

    url: str
    version: str
    known: int
    """The highest level that it can fold."""
    error: str
    """Why it does not answer; empty if it does."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The workers of a system, and the level of each table partition."""

    workers: tuple[Worker, ...]
    levels: Mapping[tuple[str, int], int | None]
    """By table and partition; None while nobody has the partition open."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Survey:
        """Return what `GET /v1/cluster?all=1` says."""
        workers = [
            Worker(
                row["url"],
                row.get("version") or "",
                row.get("known_level") or 0,
                "" if row["answers"] else row.get("error") or "it does not answer",
            )
            for row in answer["workers"]
        ]
        rows = answer["partitions"]
        levels = {(row["table"], row["partition"]): row.get("level") for row in rows}
        return cls(tuple(workers), levels)

    @property
    def partitions(self) -> int:
        """How many partitions each table has."""
        return sum(1 for table, _ in self.levels if table == MEMBERS)

    def below(self, level: int) -> list[tuple[str, int]]:
        """Return the table partitions that have a lower level, or an unknown one."""
        return sorted(key for key, found in self.levels.items() if (found or 0) < level)

    def obstacles(self, level: int) -> list[str]:
        """Return, in words, what is in the way of raising all partitions to a level."""
        found = []
        for worker in self.workers:
            if worker.error:
                found.append(f"{worker.url} does not answer: {worker.error}")
            elif worker.known < level:
                version = worker.version or "an older version"
                found.append(
                    f"{worker.url} runs {version}, which does not know level {level}: upgrade it"
                )
        closed = [f"{table}/{number}" for (table, number), at in self.levels.items() if at is None]
        if closed:
            found.append(
                f"{counted(len(closed), 'partition is', 'partitions are')} not open: "
                + ", ".join(closed[:3])
            )
        return found


def raise_levels(
    settings: Settings, partitions: Sequence[tuple[str, int]], count: int, level: int
) -> None:
    """Append a Level record to the source of each of these table partitions. Blocks.

    It may be repeated: a record with a level that a partition has changes nothing.

    Args:
        settings: the settings of the system.
        partitions: tables and partitions.
        count: how many partitions each table has.
        level: the new level.

    Raises:
        Unavailable: Kafka cannot be reached, or has not confirmed all of them.
    """
    client = settings.librdkafka()
    topics = dict(zip(TABLES, (settings.group_events, settings.queue_events), strict=True))
    numbers = {name: log_number(raw) for name, raw in topic_ids(client, topics.values()).items()}
    failed: list[str] = []

    def report(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error.str())

    producer = open_producer(client, {"enable.idempotence": True})
    for table, number in partitions:
        topic = topics[table]
        record = Level(level, numbers[topic], time.time_ns() // 1_000_000)
        producer.produce(
            topic,
            encode(record),
            own_key("level", number, count),
            number,
            headers=[("type", b"Level")],
            on_delivery=report,
        )
    if producer.flush(CONFIRM_SECONDS) or failed:
        reason = failed[0] if failed else "no answer"
        raise Unavailable(f"Kafka has not confirmed all Level records: {reason}; run it again")


def check_obstacles(survey: Survey, level: int) -> None:
    """Raise StreamsError if something is in the way of raising the level."""
    found = survey.obstacles(level)
    if found:
        raise StreamsError("the upgrade cannot be finished: " + "; ".join(found))
