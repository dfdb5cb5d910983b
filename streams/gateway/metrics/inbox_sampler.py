"""How deep the inboxes are and how old what waits in them, without a scan on the hot path.

A cursor walks over the inbox rows of this worker's partitions as they are in the databases,
a few rows at a time, and takes two milliseconds of each quarter of a second or so.  Each
time it has come around a partition, that is a sample; from there on the counts of the fold
say what came and went.  The depth is exact when nothing changed between the last checkpoint
and the end of the walk, and near it otherwise; the age is that of the last sample.

Where many rows in a row are deleted and not compacted away yet, reading on would hold up the
event loop: the walk ends there, and begins anew later.  What it has found so far stands for
the whole only as long as there is nothing better.
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
LOOK_ROWS = 64
"""Rows between two looks at the clock."""
REST_SECONDS = 2.0
"""Least time between two walks around the same partition."""
LONG_REST_SECONDS = 15.0
"""The same after a walk that had to end early."""
MOST_DELETED = 4000
"""So many deleted rows in a row are passed over: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The inboxes of one partition."""

    partition: int
    depth: int
    """Messages that wait."""
    oldest_at: int | None
    """When the oldest of them was published, in ms; None when there are none."""
    inboxes: int
    """Queues that have something waiting."""


class _Walk:
    """Where the cursor is in one partition, and what the last time around has found."""

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
        """Walk until the clock says so, or the partition's end is reached."""
        start, end = views.INBOXES
        if self._next is None:
            self._next = start
            self._started = self._left()
        while True:
            rows, gave_up = self.partition.stored.walk(self._next, end, LOOK_ROWS, MOST_DELETED)
            for key, value in rows:
                self._take(key, value)
            if gave_up or len(rows) < LOOK_ROWS:
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
            # What changed during the walk was seen by half of it, on the average.
            self._sampled_left = (self._started + self._left()) // 2
            self._whole = whole
        self._next = self._oldest = None
        self._seen = self._queues = 0
        self._last_queue = b""
        self.due = time.monotonic() + (REST_SECONDS if whole else LONG_REST_SECONDS)

    def read(self) -> Sample | None:
        """Return the last sample, brought up to date by what was counted since."""
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
        """Sample for ever."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            self.step()

    def step(self) -> None:
        """Take one slice."""
        self._follow()
        now = time.monotonic()
        numbers = sorted(n for n, walk in self._walks.items() if walk.due <= now)
        until = time.perf_counter() + SLICE_SECONDS
        # The next in turn first, and others as long as there is time.
        turn = [n for n in numbers if n >= self._next] + [n for n in numbers if n < self._next]
        for number in turn:
            walk = self._walks[number]
            try:
                walk.go_on(until)
            except Unavailable:  # closed meanwhile, or its files are damaged: it is opened anew
                del self._walks[number]
                continue
            self._next = number if walk.due <= now else number + 1
            if time.perf_counter() > until:
                return

    def _follow(self) -> None:
        """Begin anew with partitions that were opened, forget those that are gone."""
        ready = {p.number: p for p in self._partitions() if p.table == QUEUES and p.ready}
        for number in self._walks.keys() - ready.keys():
            del self._walks[number]
        for number, partition in ready.items():
            walk = self._walks.get(number)
            if walk is None or walk.partition is not partition:
                self._walks[number] = _Walk(partition, self._counts.of(QUEUES, number))

    def read(self) -> list[Sample]:
        """Return what is known of the partitions that were walked around at least once."""
        samples = (walk.read() for _, walk in sorted(self._walks.items()))
        return [sample for sample in samples if sample is not None]
