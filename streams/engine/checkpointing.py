"""When an open partition is checkpointed: one checkpoint at a time, beside the folding.

A checkpoint costs a transaction, whatever is in it.  So a partition with few changes is
checkpointed seldom, and one with many changes often; what a crash leaves to be folded again is
little either way.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import Any, Final

from streams.engine.changelog import ChangelogWriter
from streams.engine.checkpoint import Checkpoint
from streams.engine.database import Database
from streams.engine.folding import Folder
from streams.engine.overlay import ChangedRows
from streams.engine.ports import Context
from streams.engine.progress import PartitionSpec, Progress

SOON_SECONDS: Final = 1.0
"""Time after a checkpoint before the next one that need not wait for `checkpoint_seconds`."""
MUCH_ROWS: Final = 2_000
"""Rows changed, or records folded, with which a checkpoint does not wait for longer."""
MUCH_BYTES: Final = 1 << 20
"""Keys and values of changed rows with which it does not."""
QUIET_SECONDS: Final = 1.0
"""It does not either when nothing has been folded for this long."""


class Checkpointer:
    """Starts the checkpoints of one incarnation of a partition and collects their results."""

    def __init__(
        self,
        context: Context,
        spec: PartitionSpec,
        progress: Progress,
        rows: ChangedRows,
        database: Database,
        writer: ChangelogWriter,
        folder: Folder,
        wake: Callable[[], None],
    ) -> None:
        """Prepare; `wake` is called when a checkpoint has ended."""
        self.changelog_end = database.next_offset
        """The changelog offset after this incarnation's last checkpoint."""
        # Spread the partitions over the interval: together, each would wait for all others.
        self._share = 0.5 + zlib.crc32(spec.name.encode()) % 1000 / 2000
        self.due = 0.0
        """When the next checkpoint is due at the latest, on the event loop's clock."""
        self._soon = 0.0
        """When it is due if much has changed, or nothing changes any more."""
        self.latest: Checkpoint | None = None
        """The checkpoint that was started last."""
        self._context = context
        self._spec = spec
        self._progress = progress
        self._rows = rows
        self._database = database
        self._writer = writer
        self._folder = folder
        self._wake = wake
        self._task: asyncio.Task[None] | None = None
        now = context.loop.time()
        self._moved = (progress.position, now)
        """The position, and when it was first seen."""
        self._schedule(now, self._share)

    @property
    def running(self) -> bool:
        """Whether a checkpoint is under way, or its result not collected yet."""
        return self._task is not None

    @property
    def overfull(self) -> bool:
        """Whether so many rows have changed that a checkpoint cannot wait."""
        rows = self._rows
        return (
            rows.pending >= self._context.checkpoint_rows
            or rows.pending_bytes >= self._context.checkpoint_bytes
        )

    @property
    def late(self) -> float:
        """Seconds since a checkpoint was due; negative before."""
        return self._context.loop.time() - self.due

    @property
    def saving(self) -> bool:
        """Whether a checkpoint is running or overdue."""
        return self.running or self.late > 0

    def condition(self) -> dict[str, Any] | None:
        """Return what the running checkpoint is doing, ready for JSON; None if there is none."""
        latest = self.latest
        if self._task is None or latest is None:
            return None
        return {
            "step": latest.doing,
            "seconds": round(time.monotonic() - latest.began, 1),
            "outputs_waited_for": latest.tracker.unsettled,
            "position": latest.position,
        }

    def is_due(self, now: float) -> bool:
        """Return whether there is something to save, and a checkpoint may begin at `now`.

        `now` is on the event loop's clock.  Call it often: it notices when folding pauses.
        """
        progress = self._progress
        if progress.position == progress.checkpointed:
            self._schedule(now, self._share)
            return False
        if progress.position != self._moved[0]:
            self._moved = (progress.position, now)
        if self.running:
            return False
        if now >= self.due or self.overfull:
            return True
        return now >= self._soon and (self._much() or now - self._moved[1] >= QUIET_SECONDS)

    def _much(self) -> bool:
        rows, progress = self._rows, self._progress
        return (
            rows.pending >= MUCH_ROWS
            or progress.position - progress.checkpointed >= MUCH_ROWS
            or rows.pending_bytes >= MUCH_BYTES
        )

    def _schedule(self, now: float, share: float) -> None:
        """Set when the next checkpoint is due: after this share of the intervals, or later."""
        longest = self._context.checkpoint_seconds
        self.due = max(self.due, now + longest * share)
        self._soon = max(self._soon, now + min(SOON_SECONDS, longest) * share)

    def begin_if_due(self) -> None:
        """Start a checkpoint if one is due and possible.

        With deferred work left, the rows must not be saved: they lack outputs to come.
        """
        if not self._folder.fold.work and self.is_due(self._context.loop.time()):
            self._begin()

    def collect(self) -> None:
        """Take the result of a checkpoint that has ended; raises what it failed with."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            if not task.cancelled() and task.exception() is not None:
                self._progress.failed_checkpoints += 1
            task.result()

    async def wait(self) -> None:
        """Wait for the running checkpoint, if there is one; raises what it failed with."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self.collect()

    async def finish(self) -> None:
        """Checkpoint everything folded, and wait until that is durable."""
        await self.wait()
        await self._folder.finish_work()
        if self._progress.position > self._progress.checkpointed:
            self._begin()
            await self.wait()

    async def stop(self) -> None:
        """End the running checkpoint; its failure no longer matters."""
        if self._task is not None:
            # A thread that holds the database must end by itself: it sees that it should stop.
            if self.latest is not None and not self.latest.writing:
                self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()
            self._task = None
        # Outputs that are not sent yet never will be: the next owner folds their records again.
        self._folder.tracker.dropped = True
        if self.latest is not None:
            self.latest.tracker.dropped = True

    def _begin(self) -> None:
        context = self._context
        self.latest = Checkpoint(
            context=context,
            name=self._spec.name,
            source=self._spec.source,
            position=self._progress.position,
            layer=self._rows.freeze(),
            tracker=self._folder.take_tracker(),
            writer=self._writer,
            database=self._database,
            topic_id=context.topic_id(self._spec.changelog_topic),
        )
        self._schedule(context.loop.time(), 1.0)
        self._task = context.loop.create_task(self._run(self.latest))
        # A failed one must be looked at, even if there is nothing else to do.
        self._task.add_done_callback(lambda _: self._wake())

    async def _run(self, checkpoint: Checkpoint) -> None:
        self.changelog_end = await checkpoint.run()
        self._rows.thaw()
        progress = self._progress
        progress.checkpointed = checkpoint.position
        progress.last_checkpoint = checkpoint
        progress.checkpoints += 1
        self._context.after_checkpoint(checkpoint)
        await self._context.blocking(checkpoint.dispose)
