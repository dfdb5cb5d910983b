"""Finds source partitions that deliver nothing although Kafka has records for them.

A Kafka client that was suspended or starved, or a chunk that got lost on its way, must not stop
a partition for good: its source is read again from the end of what the partition has accepted.
Knows numbers, not Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streams.engine.holds import Ends
from streams.engine.source import Source

SILENT_SECONDS: Final = 20.0
"""How long a partition may wait for records that Kafka has, before it is read again.

After each time without success, it waits for twice as long: a starved machine needs its time.
"""


@dataclass(frozen=True, slots=True)
class Silence:
    """A partition to be read again."""

    offset: int
    """The first offset that has not arrived."""
    end: int
    """Last stable offset: records before it can be read."""
    seconds: float
    """How long nothing has arrived."""
    times: int
    """How often it is read again because of this silence, this time included."""


@dataclass(slots=True)
class _Wait:
    offset: int
    limit: float
    """When the partition is read again, in seconds of waiting."""
    seconds: float = 0.0
    """How long it has waited at this offset."""
    times: int = 0


class SilenceWatch:
    """Remembers how long partitions have waited at one offset; a pure state machine.

    Call `look` about every `interval` seconds.  A much longer interval counts as two: the
    process was stopped, or Kafka did not answer.
    """

    def __init__(self, interval: float, patience: float = SILENT_SECONDS) -> None:
        """Begin; a partition is read again after `patience` seconds."""
        self._patience = patience
        self._longest = 2 * interval
        self._waits: dict[Source, _Wait] = {}
        self._last: float | None = None

    def look(
        self, now: float, waiting: Mapping[Source, int], ends: Mapping[Source, Ends]
    ) -> dict[Source, Silence]:
        """Take the offsets at which idle partitions wait, and the ends of their logs.

        The ends must have been asked for before the offsets.

        Returns:
            the partitions to read again now.
        """
        passed = 0.0 if self._last is None else min(now - self._last, self._longest)
        self._last = now
        behind = {s: at for s, at in waiting.items() if s in ends and at < ends[s].stable}
        for source in self._waits.keys() - behind.keys():
            del self._waits[source]
        found: dict[Source, Silence] = {}
        for source, offset in behind.items():
            wait = self._waits.get(source)
            if wait is None or wait.offset != offset:
                self._waits[source] = _Wait(offset, self._patience)
                continue
            wait.seconds += passed
            if wait.seconds >= wait.limit:
                wait.times += 1
                wait.limit = wait.seconds + self._patience * 2**wait.times
                found[source] = Silence(offset, ends[source].stable, wait.seconds, wait.times)
        return found
