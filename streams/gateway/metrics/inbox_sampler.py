"""Samples the depth and age of inboxes, without a scan on the hot path.

A cursor walks over the inbox rows in the databases of this worker's partitions, for about two
milliseconds of every quarter second.  A full pass over a partition makes a sample; the counts
of the fold then keep its depth up to date.  The depth is exact if nothing changed between the
last checkpoint and the end of the pass, and close otherwise; the age is that of the sample.

A long run of deleted rows that are not compacted yet would block the event loop, so a step over
the rows gives up in the middle of it.  The database does not say where it gave up.  So the
range ahead is halved until a step reaches its end, and the pass goes on from there: every pass
ends, however many rows were deleted.  If nothing has changed during such a pass, nothing else
may compact the deleted rows away, so the database is asked to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streams.errors import Unavailable
from streams.folds import views
from streams.folds.counts import Counts, CountsByPartition
from streams.folds.tables import QUEUES
from streams.gateway.ports import Partition, Stored

PAUSE_SECONDS = 0.25
SLICE_SECONDS = 0.002
CHECK_ROWS = 64
"""Rows read between two checks of the clock."""
REST_SECONDS = 2.0
"""Shortest pause between two passes over a partition."""
COMPACT_SECONDS = 60.0
"""Shortest pause between two requests to compact a partition."""
MAX_DELETED = 4000
"""Longest run of deleted rows to skip: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The inboxes of one partition."""

    partition: int
    depth: int
    """Messages in the inboxes."""
    oldest_at: int | None
    """When the oldest message was published, in ms; None if there is none."""
    inboxes: int
    """Queues with a message in their inbox."""


def between(start: bytes, end: bytes) -> bytes | None:
    """Return a key about half way between two keys; None if there is none between them."""
    size = max(len(start), len(end)) + 1
    first, last = (int.from_bytes(key.ljust(size, b"\0"), "big") for key in (start, end))
    middle = (first + last) // 2
    return middle.to_bytes(size, "big").rstrip(b"\0") if middle > first else None


class _Walk:
    """The cursor in one partition, and the last sample."""

    def __init__(self, partition: Partition, counts: Counts) -> None:
        self.partition = partition
        self._counts = counts
        self._next = b""
        self._bounds: list[bytes] = []
        """Where steps end, the nearest last; empty between two passes."""
        self._started = (0, 0)
        """The changes counted when the pass began."""
        self._seen = 0
        self._queues = 0
        self._last_queue = b""
        self._oldest: tuple[bytes, bytes] | None = None
        self._sample: Sample | None = None
        self._sampled_left = 0
        self._blocked = False
        """Whether a step of this pass gave up at deleted rows."""
        self._compact_after = 0.0
        self.due = 0.0

    def _changes(self) -> tuple[int, int]:
        return self._counts.delivered, self._counts.removed

    def _left(self) -> int:
        return self._counts.delivered - self._counts.removed

    def go_on(self, until: float) -> bool:
        """Walk until the clock reads `until`, or to the end of the partition.

        Returns:
            whether deleted rows were in the way of a pass that has ended, and should be
            compacted away.
        """
        bounds, stored = self._bounds, self.partition.stored
        if not bounds:
            self._next, end = views.INBOXES
            bounds.append(end)
            self._started = self._changes()
            self._blocked = False
        while True:
            rows, gave_up = stored.walk(self._next, bounds[-1], CHECK_ROWS, MAX_DELETED)
            for key, value in rows:
                self._take(key, value)
            if rows:
                self._next = rows[-1][0] + b"\0"
            middle = between(self._next, bounds[-1]) if gave_up else None
            self._blocked = self._blocked or gave_up
            if middle is not None:
                bounds.append(middle)
            elif gave_up or len(rows) < CHECK_ROWS:
                self._next = bounds.pop()
                if not bounds:
                    self._end()
                    return self._should_compact()
            if time.perf_counter() > until:
                return False

    def _should_compact(self) -> bool:
        now = time.monotonic()
        if not self._blocked or self._started != self._changes() or now < self._compact_after:
            return False
        self._compact_after = now + COMPACT_SECONDS
        return True

    def _take(self, key: bytes, value: bytes) -> None:
        queue, seq = views.inbox_place(key)
        self._seen += 1
        if queue != self._last_queue:
            self._last_queue = queue
            self._queues += 1
            if self._oldest is None or seq < self._oldest[0]:
                self._oldest = (seq, value)

    def _end(self) -> None:
        oldest_at = views.published_at(self._oldest[1]) if self._oldest is not None else None
        self._sample = Sample(self.partition.number, self._seen, oldest_at, self._queues)
        # On average, the pass has seen half of what changed meanwhile.
        delivered, removed = self._started
        self._sampled_left = (delivered - removed + self._left()) // 2
        self._oldest = None
        self._seen = self._queues = 0
        self._last_queue = b""
        self.due = time.monotonic() + REST_SECONDS

    def read(self) -> Sample | None:
        """Return the last sample, updated by what the fold has counted since."""
        sample = self._sample
        if sample is None:
            return None
        depth = max(0, sample.depth + self._left() - self._sampled_left)
        oldest_at = sample.oldest_at if depth else None
        return Sample(sample.partition, depth, oldest_at, sample.inboxes)


class InboxSampler:
    """Samples all partitions of this worker in turn."""

    def __init__(
        self,
        partitions: Callable[[], Iterable[Partition]],
        counts: CountsByPartition,
        pause: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        self._pause = pause
        self._partitions = partitions
        self._counts = counts
        self._walks: dict[int, _Walk] = {}
        self._next = 0

    async def run(self) -> None:
        """Sample forever."""
        while True:
            await asyncio.sleep(self._pause(PAUSE_SECONDS))
            for stored in self.step():
                await asyncio.to_thread(stored.compact_deleted)

    def step(self) -> list[Stored]:
        """Take one slice; return the databases that should compact their deleted rows."""
        crowded: list[Stored] = []
        self._follow()
        now = time.monotonic()
        numbers = sorted(n for n, walk in self._walks.items() if walk.due <= now)
        until = time.perf_counter() + SLICE_SECONDS
        # The next partition in turn first, then others while there is time.
        turn = [n for n in numbers if n >= self._next] + [n for n in numbers if n < self._next]
        for number in turn:
            walk = self._walks[number]
            try:
                stored = walk.partition.stored
                if walk.go_on(until):
                    crowded.append(stored)
            except Unavailable:  # closed meanwhile, or damaged: the engine reopens it
                del self._walks[number]
                continue
            self._next = number if walk.due <= now else number + 1
            if time.perf_counter() > until:
                break
        return crowded

    def _follow(self) -> None:
        """Start on partitions that were opened, and drop those that are gone."""
        ready = {p.number: p for p in self._partitions() if p.table == QUEUES and p.ready}
        for number in self._walks.keys() - ready.keys():
            del self._walks[number]
        for number, partition in ready.items():
            walk = self._walks.get(number)
            if walk is None or walk.partition is not partition:
                self._walks[number] = _Walk(partition, self._counts.of(QUEUES, number))

    def read(self) -> list[Sample]:
        """Return the samples of all partitions that have one."""
        samples = (walk.read() for _, walk in sorted(self._walks.items()))
        return [sample for sample in samples if sample is not None]
