"""Finds partitions that an open transaction holds.

Records after the first one of an open transaction cannot be read until the transaction ends, be
it by its producer or by its timeout, up to 15 minutes later.  Kafka shows that as a last stable
offset below the high watermark.  Knows numbers, not Kafka.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.engine.source import Source

HOLD_SECONDS: Final = 3.0
"""How long a partition must stand at one offset before it counts as held; transactions that end
in time pass unnoticed."""

CHECKPOINT_SECONDS: Final = 65.0
"""The same for a changelog that another worker writes: longer than a checkpoint may take."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of a partition's log."""

    high: int
    """High watermark: the offset after the last record."""
    stable: int
    """Last stable offset: readers of committed records get no further."""


@dataclass(frozen=True, slots=True)
class Hold:
    """An open transaction that holds a partition."""

    offset: int
    """The first offset that cannot be read."""
    since: float
    """When the transaction began in this partition, in seconds since the epoch; when it was
    noticed, if its first record cannot be read."""

    def report(self) -> dict[str, Any]:
        """Return it ready for JSON, with times in milliseconds since the epoch."""
        return {
            "offset": self.offset,
            "since": int(self.since * 1000),
            "seconds": round(max(0.0, time.time() - self.since), 3),
        }


class HoldWatch:
    """Remembers how long partitions have stood at one offset; a pure state machine."""

    def __init__(self) -> None:
        self.high: dict[Source, int] = {}
        """The high watermark of each partition that is watched, as last seen."""
        self.holds: dict[Source, Hold] = {}
        self._since: dict[Source, tuple[int, float]] = {}
        """Offset and time (monotonic) at which a partition was first seen to stand."""

    def look(
        self,
        now: float,
        ends: Mapping[Source, Ends],
        changelogs: Collection[Source] = (),
        unknown: Collection[Source] = (),
    ) -> dict[Source, int]:
        """Take the present ends of all partitions that are watched.

        `changelogs` are those that another worker writes in transactions of its own. Of those
        that are `unknown`, Kafka has not told the ends: what was known of them stays.

        Returns:
            the offset of each partition that has been held for `HOLD_SECONDS` (a changelog for
            `CHECKPOINT_SECONDS`) and is not among `holds` yet; call `held` with them.
        """
        self.high = {s: high for s, high in self.high.items() if s in unknown}
        self.high |= {source: both.high for source, both in ends.items()}
        standing = {s: both.stable for s, both in ends.items() if both.stable < both.high}
        for source in self._since.keys() - standing.keys() - set(unknown):
            del self._since[source]
        found: dict[Source, int] = {}
        for source, offset in standing.items():
            before = self._since.get(source)
            if before is None or before[0] != offset:
                self._since[source] = (offset, now)
            elif now - before[1] >= (CHECKPOINT_SECONDS if source in changelogs else HOLD_SECONDS):
                found[source] = offset
        self.holds = {
            s: hold for s, hold in self.holds.items() if s in unknown or found.get(s) == hold.offset
        }
        return {source: at for source, at in found.items() if source not in self.holds}

    def held(self, source: Source, offset: int, since: float | None) -> None:
        """Note that a transaction has held a partition since `since`; None if that is unknown."""
        self.holds[source] = Hold(offset, time.time() if since is None else since)
