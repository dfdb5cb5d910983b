"""When an open partition is checkpointed: one checkpoint at a time, beside the folding."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import Any

from streams.engine.changelog import ChangelogWriter
from streams.engine.checkpoint import Checkpoint
from streams.engine.database import Database
from streams.engine.folding import Folder
from streams.engine.overlay import ChangedRows
from streams.engine.ports import Context
from streams.engine.progress import PartitionSpec, Progress


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
        phase = zlib.crc32(spec.name.encode()) % 1000 / 1000
        self.due = context.loop.time() + context.checkpoint_seconds * (0.5 + phase)
        """When the next checkpoint is due, on the event loop's clock."""
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
        """Return whether a checkpoint may begin at `now`, on the event loop's clock."""
        return not self.running and now >= self.due

    def begin_if_due(self) -> None:
        """Start a checkpoint if one is due and possible.

        With deferred work left, the rows must not be saved: they lack outputs to come.
        """
        progress = self._progress
        if self._task is not None or progress.position == progress.checkpointed:
            return
        if not self._folder.fold.work and (self.overfull or self.late >= 0):
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
        self.due = context.loop.time() + context.checkpoint_seconds
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
