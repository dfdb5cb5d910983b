"""Folds the chunks of one open partition, sends their outputs, and does deferred work."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from streams.engine.gaps import Gaps
from streams.engine.output import DeliveryTracker
from streams.engine.ports import Context
from streams.engine.progress import PartitionSpec, Progress
from streams.engine.schedule import WORK_SLICE_SECONDS, TimeSlice, WorkSchedule
from streams.engine.source import Chunk
from streams.errors import TooNew, Unavailable
from streams.fold import BadRecord, Fold, FoldRun, Record, RunningFold

logger = logging.getLogger(__name__)

RECORDS_PER_LOOK: Final = 8
"""Records folded between two looks at the clock."""
MOST_WORK: Final = 8
"""Records that may have deferred work; beyond that, work is finished before folding goes on."""
_ENDED: Final = object()


class Folder:
    """Drives the fold of one incarnation of a partition; used by the partition's task alone."""

    def __init__(
        self, context: Context, spec: PartitionSpec, fold: Fold, progress: Progress
    ) -> None:
        self.fold = fold
        self.folding = False
        """Whether a chunk is half folded, so that the rows are ahead of the position."""
        self.tracker = DeliveryTracker(context.loop)
        """Counts the outputs since the last checkpoint began."""
        self.slice = TimeSlice()
        self.schedule = WorkSchedule()
        self._begin_run: Callable[[Sequence[Record]], FoldRun | None] = (
            fold.begin_run if isinstance(fold, RunningFold) else lambda _records: None
        )
        self._context = context
        self._spec = spec
        self._progress = progress
        self.gaps = Gaps(context, spec.source)
        """Offsets that had no records."""

    def take_tracker(self) -> DeliveryTracker:
        """Return the tracker for a checkpoint; outputs from now on belong to the next one."""
        tracker, self.tracker = self.tracker, DeliveryTracker(self._context.loop)
        return tracker

    async def fold_chunk(self, chunk: Chunk) -> None:
        """Fold the records of a chunk that are not folded yet.

        Raises:
            Unavailable: rows cannot be read or outputs cannot be sent.
            TooNew: the fold must not go on.
        """
        self.folding = True
        fold, progress, share = self.fold, self._progress, self.slice.share
        position, records = progress.position, chunk.records
        self._check_gap(chunk)
        first = bisect_left(records, position, key=attrgetter("offset"))
        count = len(records) - first
        run = self._begin_run(records) if count else None
        while first < len(records):
            alone = len(records)
            if run is not None:
                first, alone = run.step(first)
                if fold.ready:
                    await self._send()
            end = min(first + min(alone, RECORDS_PER_LOOK), len(records))
            for record in records[first:end]:
                await self._fold(record)
            first = end
            await share()
        fold.flush()
        await self._send()
        progress.position = max(position, chunk.end)
        progress.folded += count
        progress.chunks += 1
        if records:
            progress.folded_to_ms = records[-1].timestamp
        self.folding = False

    async def _fold(self, record: Record) -> None:
        fold, share = self.fold, self.slice.share
        try:
            steps = fold.apply(record)
            if steps is not None:
                for _ in steps:
                    if fold.ready:
                        await self._send()
                    await share()
        except BadRecord as exc:
            await self._dead_letter(record, str(exc))
        except (TooNew, Unavailable):  # not the fault of this record
            raise
        except Exception as exc:  # a defect of the fold must not stop the partition
            topic, number = self._spec.source
            logger.exception(
                "the fold failed at %s/%d offset %d; the record becomes a dead letter",
                topic,
                number,
                record.offset,
            )
            await self._dead_letter(record, f"internal error: {type(exc).__name__}: {exc}")
        if fold.ready:
            await self._send()
        if len(fold.work) > MOST_WORK:  # each may hold a copy of rows
            fold.flush()  # outputs packed earlier go first
            await self._send()
            while len(fold.work) > MOST_WORK:
                await self.do_work()
                await share()

    async def refuse(self, record: Record, reason: str) -> None:
        """Send a record, all before which is folded, to the dead letters, unless it is, too."""
        if record.offset < self._progress.position:
            return
        await self._dead_letter(record, reason)
        self._progress.position = record.offset + 1
        self._progress.folded += 1
        self._progress.folded_to_ms = record.timestamp

    def work_is_due(self) -> bool:
        """Whether deferred work may run now."""
        return self._context.loop.time() >= self.schedule.due

    async def do_work(self) -> None:
        """Run deferred work for one slice, and schedule the next."""
        fold, loop = self.fold, self._context.loop
        self.schedule.begin(loop.time())
        end = time.monotonic() + WORK_SLICE_SECONDS
        while fold.work:
            if next(fold.work[0], _ENDED) is _ENDED:
                fold.work.popleft()
            if fold.ready:
                await self._send()
            if time.monotonic() >= end:
                break
        self.schedule.end(loop.time())

    async def finish_work(self) -> None:
        """Run all deferred work to its end."""
        while self.fold.work:
            await self.do_work()
            await self.slice.share()

    def _check_gap(self, chunk: Chunk) -> None:
        position = self._progress.position
        first = chunk.records[0].offset if chunk.records else chunk.end
        if first > position and chunk.begin <= position:
            self.gaps.seen(position, first)

    async def _send(self) -> None:
        fold = self.fold
        if not fold.ready:
            return
        if fold.may_wait:
            await self._context.runtime.pacer.room.wait()
            self._context.runtime.pacer.send(fold.ready, self.tracker)
        else:
            await self._context.runtime.outputs.send(fold.ready, self.tracker)
        fold.ready.clear()

    async def _dead_letter(self, record: Record, reason: str) -> None:
        self._progress.dead_letters += 1
        await self._context.dead_letter(self._spec.source_topic, record, reason, self.tracker)
