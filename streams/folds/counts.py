"""Counters of what the folds of one worker have done.

They are for operators only: no row and no output depends on them.  A record that is folded
again after a failure is counted again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """The counters of one table partition."""

    binds: int = 0
    """Bindings made."""
    unbinds: int = 0
    """Bindings dropped."""
    messages: int = 0
    """Messages accepted, without duplicates."""
    duplicates: int = 0
    """Messages dropped because their id was seen before."""
    deliveries: int = 0
    """Deliveries sent to queues: one for each message and queue."""
    acks: int = 0
    """Ack records."""
    delivered: int = 0
    """Messages put into inboxes."""
    removed: int = 0
    """Messages removed from inboxes, by acks or otherwise."""


class CountsByPartition:
    """The counters of all partitions; they survive when a partition is reopened."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], Counts] = {}

    def of(self, table: str, partition: int) -> Counts:
        """Return the counters of a table partition; the same object each time."""
        return self._counts.setdefault((table, partition), Counts())

    def all(self) -> list[tuple[str, int, Counts]]:
        """Return (table, partition, counters) of every partition that was ever open here."""
        return [(*key, counts) for key, counts in sorted(self._counts.items())]
