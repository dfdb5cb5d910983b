"""The numbers of the two logs: how a fold tells outputs of its system from those of another.

What a fold writes into the log of the other names the log that it was folded from, by number.
The number follows from the id that Kafka draws for each topic, so a log that was created again,
or that is a copy in another Kafka, has another number.  Records of the folds that such a copy
holds are dead letters: their positions belong to another log, and would be mistaken for ones of
this log.

The numbers change when the namespace is rescaled (`partition_counts`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from streams.fold import BadRecord

_SPREAD = 0x9E3779B97F4A7C15
UNNUMBERED = 0
"""Number in records that version 0.1 wrote."""


@dataclass(frozen=True, slots=True)
class LogNumbers:
    """The numbers of the logs of one namespace."""

    group_events: int
    queue_events: int
    unnumbered_until: int = 0
    """Records without a number are accepted if the broker's time is before this (ms)."""

    @classmethod
    def of_topics(
        cls,
        topic_id: Callable[[str], bytes],
        group_events: str,
        queue_events: str,
        unnumbered_until: int | None,
    ) -> LogNumbers:
        """Return the numbers of two topics, given by name; `topic_id` returns Kafka's id of one."""
        return cls(
            log_number(topic_id(group_events)),
            log_number(topic_id(queue_events)),
            unnumbered_until or 0,
        )

    def rescaled(self, partitions: int) -> LogNumbers:
        """Return the numbers of the same topics since they were split into so many partitions."""
        return replace(
            self,
            group_events=_of_count(self.group_events, partitions),
            queue_events=_of_count(self.queue_events, partitions),
        )

    def rescaled_from(self, partitions: int) -> frozenset[int]:
        """Return all numbers that the logs may have had until they had so many partitions."""
        return _ever(self.queue_events, partitions) | _ever(self.group_events, partitions)

    def check(self, what: str, log: int, own: int, timestamp: int) -> None:
        """Check that a fold of this system wrote `what`.

        Args:
            what: the start of the reason.
            log: number in the record.
            own: number that the record must have.
            timestamp: the broker's time of the record, in milliseconds.

        Raises:
            BadRecord: the number is another one, or is missing.
        """
        if log == own or (log == UNNUMBERED and timestamp < self.unnumbered_until):
            return
        if log == UNNUMBERED:
            raise BadRecord(
                f"{what} has no log number: no fold wrote it, or version 0.1 did; "
                "see STREAMS_UNNUMBERED_UNTIL"
            )
        raise BadRecord(f"{what} names log {log}, not {own}: the record was copied or forged")


def log_number(topic_id: bytes) -> int:
    """Return the number of a log, from 1 to 2**63 - 1, from the id of its topic."""
    folded = int.from_bytes(topic_id[:8], "big") ^ int.from_bytes(topic_id[8:], "big")
    return folded >> 1 or 1


@cache
def _ever(number: int, partitions: int) -> frozenset[int]:
    counts = (count for count in range(1, partitions + 1) if partitions % count == 0)
    return frozenset((number, *(_of_count(number, count) for count in counts)))


def _of_count(number: int, partitions: int) -> int:
    return (number ^ partitions * _SPREAD) & ((1 << 63) - 1) or 1
