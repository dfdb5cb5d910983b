"""Samples the depth and age of inboxes, without a scan on the hot path.

A cursor walks over the inbox rows in the databases of this worker's partitions, for about two
milliseconds of every quarter second.  A full pass over a partition makes a sample; the counts
of the fold then keep its depth up to date.  The depth is exact if nothing changed between the
last checkpoint and the end of the pass, and close otherwise; the age is that of the sample.

A long run of deleted rows that are not compacted yet would block the event loop: the pass ends
there, and a new one starts later.  A sample of a partial pass is used only until there is a
full one.
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
from streams.gateway.ports import Partition

PAUSE_SECONDS = 0.25
SLICE_SECONDS = 0.002
CHECK_ROWS = 64
"""Rows read between two checks of the clock."""
REST_SECONDS = 2.0
"""Shortest pause between two passes over a partition."""
LONG_REST_SECONDS = 15.0
"""The same after a partial pass."""
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


class _Walk:
    """The cursor in one partition, and the last sample."""

    def __init__(self, partition: Partition, counts: Counts) -> None:
        self.partition = partition
        self._counts = counts
        self._next: bytes | None = None
        self._started = 0
        self._seen = 0
        self._queues = 0
        self._last_queue = b""
        self._oldest: tuple[bytes, bytes] | None = None
        self._sample: Sample | None = None
        self._whole = False
        self._sampled_left = 0
        self.due = 0.0

    def _left(self) -> int:
        return self._counts.delivered - self._counts.removed

    def go_on(self, until: float) -> None:
        """Walk until the clock reads `until`, or to the end of the partition."""
        start, end = views.INBOXES
        if self._next is None:
            self._next = start
            self._started = self._left()
        while True:
            rows, gave_up = self.partition.stored.walk(self._next, end, CHECK_ROWS, MAX_DELETED)
            for key, value in rows:
                self._take(key, value)
            if gave_up or len(rows) < CHECK_ROWS:
                self._end(whole=not gave_up)
                return
            self._next = rows[-1][0] + b"\0"
            if time.perf_counter() > until:
                return

    def _take(self, key: bytes, value: bytes) -> None:
        queue, seq = views.inbox_place(key)
        self._seen += 1
        if queue != self._last_queue:
            self._last_queue = queue
            self._queues += 1
            if self._oldest is None or seq < self._oldest[0]:
                self._oldest = (seq, value)

    def _end(self, whole: bool) -> None:
        oldest_at = views.published_at(self._oldest[1]) if self._oldest is not None else None
        if whole or not self._whole:
            self._sample = Sample(self.partition.number, self._seen, oldest_at, self._queues)
            # On average, the pass has seen half of what changed meanwhile.
            self._sampled_left = (self._started + self._left()) // 2
            self._whole = whole
        self._next = self._oldest = None
        self._seen = self._queues = 0
        self._last_queue = b""
        self.due = time.monotonic() + (REST_SECONDS if whole else LONG_REST_SECONDS)

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
        self, partitions: Callable[[], Iterable[Partition]], counts: CountsByPartition
    ) -> None:
        self._partitions = partitions
        self._counts = counts
        self._walks: dict[int, _Walk] = {}
        self._next = 0

    async def run(self) -> None:
        """Sample forever."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            self.step()

    def step(self) -> None:
        """Take one slice."""
        self._follow()
        now = time.monotonic()
        numbers = sorted(n for n, walk in self._walks.items() if walk.due <= now)
        until = time.perf_counter() + SLICE_SECONDS
        # The next partition in turn first, then others while there is time.
        turn = [n for n in numbers if n >= self._next] + [n for n in numbers if n < self._next]
        for number in turn:
            walk = self._walks[number]
            try:
                walk.go_on(until)
            except Unavailable:  # closed meanwhile, or damaged: the engine reopens it
                del self._walks[number]
                continue
            self._next = number if walk.due <= now else number + 1
            if time.perf_counter() > until:
                return

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
