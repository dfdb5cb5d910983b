"""Whether a worker answers the reads of its partitions, and the reason if it does not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a worker as a whole, apart from its partitions."""

    brokers: str
    """The addresses of Kafka, as configured."""
    failure: str | None
    """Why the worker has failed for good."""
    stopping: bool
    waiting: str | None
    """What the worker waits for before it can start its readers and producers."""
    started: bool
    """Whether readers and producers have started."""
    heartbeat_age: float
    """Seconds since Kafka has accepted a heartbeat; infinite if it never has."""
    session_timeout: float
    """Seconds after which Kafka gives the partitions of a silent worker to others."""
    rebalancing: bool
    generation: int
    """Generation of the consumer group; 0 before the first."""


def trouble(condition: Condition) -> str | None:
    """Return why the worker as a whole cannot answer reads; None if it can."""
    if condition.failure is not None:
        return "this worker has failed and is about to exit"
    if condition.stopping:
        return "this worker is stopping"
    if condition.waiting is not None:
        return f"waiting for Kafka at {condition.brokers}: {condition.waiting}"
    if not condition.started:
        return "this worker is starting"
    if condition.generation > 0 and condition.heartbeat_age >= condition.session_timeout:
        return (
            f"waiting for Kafka at {condition.brokers}: it has accepted no heartbeat for "
            f"{condition.heartbeat_age:.0f} s"
        )
    if condition.rebalancing:
        return "partitions are being assigned"
    if condition.generation <= 0:
        return "no partitions are assigned yet"
    return None


def not_ready(
    condition: Condition,
    assigned: Collection[tuple[str, int]],
    rows: Mapping[tuple[str, int], Mapping[str, Any]],
) -> str | None:
    """Return why the worker cannot answer all of its reads; None if it can.

    Args:
        condition: that of the worker.
        assigned: the table partitions that the group has assigned to it.
        rows: the status of those that it has opened.
    """
    reason = trouble(condition)
    if reason is not None:
        return reason
    unopened = sorted(set(assigned) - rows.keys())
    if unopened:
        table, number = unopened[0]
        return (
            f"{len(unopened)} of {len(assigned)} partitions are not opened yet; "
            f"one is partition {number} of {table}"
        )
    return (
        _some(rows, "{} are not ready", lambda row: None if row["ready"] else f"is {_doing(row)}")
        or _some(rows, "records of {} wait", lambda row: _if(row, "waits", "waits: "))
        or _some(rows, "{} cannot read their source", lambda row: _if(row, "lost", "has "))
    )


def _some(
    rows: Mapping[tuple[str, int], Mapping[str, Any]],
    summary: str,
    reason: Callable[[Mapping[str, Any]], str | None],
) -> str | None:
    """Return how many partitions have a reason, and that of the first; None without any."""
    reasons = [(key, found) for key, row in rows.items() if (found := reason(row)) is not None]
    if not reasons:
        return None
    (table, number), first = reasons[0]
    share = f"{len(reasons)} of {len(rows)} partitions"
    return f"{summary.format(share)}; partition {number} of {table} {first}"


def _if(row: Mapping[str, Any], field: str, text: str) -> str | None:
    return f"{text}{row[field]}" if row.get(field) else None


def _doing(row: Mapping[str, Any]) -> str:
    if row.get("needs"):
        return f"{row['state']}: {row['needs']}"
    held = row.get("held")
    if held is None and row.get("failure"):
        after = "" if row["state"] == "failed" else " after a failure"
        return f"{row['state']}{after}: {row['failure']}"
    if held is None:
        return str(row["state"])
    return f"{row['state']}: an open transaction holds it at offset {held['offset']}"
