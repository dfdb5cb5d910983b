"""What the folds of one worker have done, as plain integers that only grow.

They are for operators alone: no row and no output depends on them.  A record that is folded
again after a failure counts again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Of one table partition."""

    binds: int = 0
    """Bindings made."""
    unbinds: int = 0
    """Bindings dropped."""
    messages: int = 0
    """Messages accepted, duplicates not counted."""
    duplicates: int = 0
    """Messages dropped because their id was seen before."""
    deliveries: int = 0
    """Queues that messages were sent on to."""
    acks: int = 0
    """Acks taken."""
    delivered: int = 0
    """Messages put into inboxes."""
    removed: int = 0
    """Messages taken out of inboxes, by acks or otherwise."""


class CountsByPartition:
    """Counts that outlive the fold of a partition: it may be opened afresh."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], Counts] = {}

    def of(self, table: str, partition: int) -> Counts:
        """Return the counts of a table partition, the same each time."""
        return self._counts.setdefault((table, partition), Counts())

    def all(self) -> list[tuple[str, int, Counts]]:
        """Return table, partition and counts of all that were ever open here."""
        return [(*key, counts) for key, counts in sorted(self._counts.items())]
