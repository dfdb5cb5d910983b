"""One active table partition: opened, folded, checkpointed, closed.

States and what may follow:

    opening ──► restoring ──► catching-up ──► ready
       ▲            │              │            │
       └────────────┴── failed ◄───┴────────────┘        (and closed, from any)

*opening*: the former writer is fenced and the database opened.  *restoring*: committed
rows of the changelog are applied, up to its end.  *catching-up*: source records are folded
up to the end that the source had when the partition was opened, so that no read is older
than one that a former owner may have answered.  *failed*: everything uncommitted is
dropped, and the partition is reopened.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import ExitStack, suppress
from typing import Any

from streams.engine.changelog import ChangelogBroken, Fenced, Stopped
from streams.engine.chunk_queue import ChunkQueue
from streams.engine.database import Damaged, Database
from streams.engine.holds import Hold
from streams.engine.opening import Incarnation, Opening
from streams.engine.overlay import ChangedRows
from streams.engine.ports import Context
from streams.engine.progress import PartitionSpec, PositionWaiters, Progress, State
from streams.engine.source import Chunk
from streams.engine.stacks import task_stack
from streams.engine.translation import Intake
from streams.errors import TooNew, Unavailable
from streams.fold import Fold, LevelledFold
from streams.pauses import Pauses

logger = logging.getLogger(__name__)

FAILURE_PAUSES = (0.5, 4.0)
"""First and longest pause, in seconds, before a partition that failed is opened again."""
MEMBER_PAUSES = (0.2, 1.0)
"""The same for looking whether the group gives this partition to this worker again."""


class Partition:
    """The active owner of one table partition; runs as one task in the event loop.

    Its `Incarnation` holds everything that exists only while the partition is open. `Opening`
    makes it; it is dropped as a whole when the partition fails or is closed.
    """

    def __init__(self, context: Context, spec: PartitionSpec) -> None:
        self.spec = spec
        self.table = spec.table
        self.number = spec.number
        self.progress = Progress()
        self._context = context
        self._queue = ChunkQueue(spec.source, context.runtime.source, context.next_epoch)
        self._incarnation: Incarnation | None = None
        self._woken = asyncio.Event()
        self._closing = False
        self._releasing = False
        self._lost = False
        self._final_checkpoint = False
        self._waiters = PositionWaiters(context.loop)
        self._task: asyncio.Task[None] | None = None

    # For readers --------------------------------------------------------------------

    @property
    def state(self) -> State:
        """See the module's docstring."""
        return self.progress.state

    @property
    def position(self) -> int:
        """The next source offset to fold."""
        return self.progress.position

    @property
    def ready(self) -> bool:
        """Whether reads may be answered from `rows`."""
        incarnation = self._incarnation
        return (
            self.progress.state is State.READY
            and not self._lost
            and incarnation is not None
            and not incarnation.database.damaged
            and self._context.lease_valid(self.spec.source)
        )

    @property
    def rows(self) -> ChangedRows:
        """The rows; read them only when `ready`, and hold no iterator across an await.

        Raises:
            Unavailable: the partition is not open.
        """
        return self._opened().rows

    @property
    def stored(self) -> Database:
        """The rows of the last checkpoint, for readers that tolerate stale rows.

        Raises:
            Unavailable: the partition is not open.
        """
        return self._opened().database

    @property
    def fold(self) -> Fold | None:
        """The fold that writes the rows, None while the partition is not open; read-only."""
        return self._incarnation.fold if self._incarnation is not None else None

    @property
    def level(self) -> int | None:
        """The level that the rows are folded with; None without levels, or while not open."""
        fold = self.fold
        return fold.level if isinstance(fold, LevelledFold) else None

    @property
    def folding(self) -> bool:
        """Whether a chunk is half folded, so that rows are ahead of `position`."""
        return self._incarnation is not None and self._incarnation.folder.folding

    @property
    def source_end(self) -> int:
        """The next offset of the source partition, as far as it is known."""
        source, progress = self.spec.source, self.progress
        known = self._context.runtime.source.end(source) or 0
        high = self._context.high_watermark(source)
        return max(progress.position, progress.catch_up_to, known, high)

    @property
    def waits_at(self) -> int | None:
        """The source offset that it waits for; None while it is not open or has something to do."""
        reading = self.state in (State.CATCHING_UP, State.READY)
        busy = bool(self._queue) or self.folding or self.work_left > 0
        return self._queue.end if reading and not busy else None

    @property
    def hold(self) -> Hold | None:
        """The open transaction that keeps this partition from going on, if one does."""
        spec = self.spec
        restoring = self.progress.state in (State.OPENING, State.RESTORING)
        return self._context.hold(spec.changelog if restoring else spec.source)

    @property
    def readable_end(self) -> int:
        """The source offset up to which records can be read now."""
        hold = self._context.hold(self.spec.source)
        return self.source_end if hold is None else max(self.progress.position, hold.offset)

    @property
    def lag_seconds(self) -> float:
        """How long records have been waiting to be folded; 0 if there are none."""
        return self.progress.lag_seconds(self.source_end)

    def sizes(self) -> dict[str, int]:
        """Return rows and bytes in the overlay and in the database; nothing while not open."""
        return self._incarnation.sizes() if self._incarnation is not None else {}

    @property
    def overlay_rows(self) -> int:
        """Rows that have changed since the last checkpoint began."""
        return self._incarnation.rows.pending if self._incarnation is not None else 0

    @property
    def work_left(self) -> int:
        """Records whose deferred work is not finished."""
        return len(self._incarnation.fold.work) if self._incarnation is not None else 0

    @property
    def saving(self) -> bool:
        """Whether a checkpoint is running or overdue."""
        return self._incarnation is not None and self._incarnation.checkpoints.saving

    @property
    def unfinished(self) -> tuple[int, int]:
        """Outputs sent and rows changed since the last checkpoint: they change within a chunk."""
        return self._incarnation.unfinished if self._incarnation is not None else (0, 0)

    def internals(self) -> dict[str, Any]:
        """Return what it is doing and waiting for, ready for JSON."""
        incarnation = self._incarnation
        found = {
            "state": str(self.state),
            "opening_queued": self.progress.queued,
            "lease": self._context.lease_valid(self.spec.source),
            "lost": self._lost,
            "chunks_waiting": len(self._queue),
            "task": task_stack(self._task) if self._task is not None else [],
        }
        if incarnation is None:
            return found
        return found | {
            "folding": incarnation.folder.folding,
            "deferred_work": len(incarnation.fold.work),
            "checkpoint": incarnation.checkpoints.condition(),
            "checkpoint_late_seconds": round(max(0.0, incarnation.checkpoints.late), 1),
        }

    async def reached(self, offset: int, timeout: float) -> bool:
        """Wait until the record at a source offset has been folded.

        Returns:
            False if `timeout` seconds have passed first, or the partition was lost.
        """
        if self.position <= offset:
            await self._waiters.wait(offset, timeout)
        return self.position > offset

    # For the engine -----------------------------------------------------------------

    def start(self) -> None:
        """Begin to open; returns at once."""
        self._task = self._context.loop.create_task(self._run(), name=self.spec.name)

    def accept(self, chunk: Chunk) -> None:
        """Take a chunk to be folded, unless it does not continue the last one."""
        if self._queue.accept(chunk):
            self._woken.set()

    def reread(self) -> None:
        """Read the source again from here, as after a pause in which chunks were dropped."""
        if self.state in (State.CATCHING_UP, State.READY):
            self._queue.reread()

    def remind(self, now: float) -> None:
        """Wake the task if a checkpoint is due at `now`, on the event loop's clock."""
        if self._incarnation is not None and self._incarnation.checkpoints.is_due(now):
            self._woken.set()
        if self.source_end <= self.position:
            self.progress.caught_up_at = time.monotonic()

    async def still_mine(self) -> bool:
        """After a rebalance: return whether nobody else has written to the changelog."""
        incarnation = self._incarnation
        if incarnation is None or incarnation.checkpoints.running:
            return True  # opening, or its own checkpoint, finds out
        checkpoints = incarnation.checkpoints
        before = checkpoints.latest
        end = await self._context.blocking(self._context.log_end, self.spec.changelog, False)
        if self._incarnation is not incarnation or checkpoints.latest is not before:
            return True
        # One more is the commit of the last checkpoint; a checkpoint takes at least two.
        return end <= checkpoints.changelog_end + 1

    def reopen(self) -> None:
        """Drop everything uncommitted and open again: another worker may have written."""
        if self._task is not None and not self._closing:
            self._lost = True
            self._woken.set()

    async def close(self, checkpoint: bool, timeout: float = 10.0) -> None:
        """Stop folding and close; with `checkpoint`, commit what was folded first.

        After `timeout` seconds (Kafka may be unavailable) everything uncommitted is dropped:
        the next owner folds it again.
        """
        self._closing = True
        self._final_checkpoint = checkpoint
        self._woken.set()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=timeout)
            if late:
                self._final_checkpoint = False
                if not self._releasing:  # closing the database must not be interrupted
                    self._task.cancel()
                await asyncio.wait([self._task])
            self._task = None
        self.progress.state = State.CLOSED

    # The task -----------------------------------------------------------------------

    def _opened(self) -> Incarnation:
        if self._incarnation is None:
            raise Unavailable(f"{self.spec.name} is {self.state}")
        return self._incarnation

    def _stopped(self) -> bool:
        return self._releasing or (self._closing and not self._final_checkpoint)

    async def _run(self) -> None:
        pauses, saved = Pauses(*FAILURE_PAUSES), 0
        while not self._closing:
            resources = ExitStack()
            pause = 0.0
            try:
                await self._until_member()
                incarnation = await self._open(resources)
                await self._work(incarnation)
                if self._final_checkpoint:
                    await incarnation.checkpoints.finish()
            except Stopped:
                pass
            except Fenced as exc:
                logger.warning("%s: %s; reopening", self.spec.name, exc)
                self.progress.failure = str(exc)
                pause = 0.2
            except Exception as exc:
                logger.error(
                    "%s: %s: %s; dropping what is not committed and reopening",
                    self.spec.name,
                    type(exc).__name__,
                    exc,
                    exc_info=not isinstance(exc, (ChangelogBroken, TooNew, Unavailable)),
                )
                self.progress.failure = str(exc) or type(exc).__name__
                self.progress.needs = str(exc) if isinstance(exc, TooNew) else None
                if self.progress.checkpoints != saved:  # it has got further since the last failure
                    pauses.reset()
                    saved = self.progress.checkpoints
                pause = pauses.next()
            finally:
                if pause:
                    self.progress.state = State.FAILED
                    self.progress.failures += 1
                await self._release(resources)
            if pause:
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        self._woken.clear()
        if not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken.wait()

    async def _until_member(self) -> None:
        """Wait while the group may have given this partition to another worker.

        Opening fences the present owner.  A worker that was fenced itself, and does not know
        yet that its partitions have moved, must not do that to the new owner.
        """
        pauses = Pauses(*MEMBER_PAUSES)
        while not self._context.lease_valid(self.spec.source):
            if self._closing:
                raise Stopped
            await self._pause(pauses.next())

    async def _open(self, resources: ExitStack) -> Incarnation:
        self._lost = self._releasing = False
        incarnation = await Opening(
            self._context,
            self.spec,
            self.progress,
            closing=lambda: self._closing,
            stopped=self._stopped,
            wake=self._woken.set,
        ).run(resources)
        self._incarnation = incarnation
        self._queue.begin(self.position)
        self._moved()
        return incarnation

    async def _work(self, incarnation: Incarnation) -> None:
        """Fold chunks, do deferred work and start checkpoints, until closed."""
        context, queue = self._context, self._queue
        fold, folder, checkpoints = incarnation.fold, incarnation.folder, incarnation.checkpoints
        intake = Intake(self.spec.translator, self.progress, context.blocking, self._pause)
        while not self._closing:
            if self._lost:
                raise Fenced("another worker may have written to the changelog")
            if incarnation.database.damaged:
                raise Damaged(f"{self.spec.path} is damaged")
            work_first = incarnation.work_comes_first
            if fold.work and (work_first or folder.work_is_due()):
                await folder.do_work()
            if queue and not work_first:
                parts = await intake.parts(queue.first)
                if parts:
                    chunk = queue.take()
                    for part in parts:
                        if part.refusal is None:
                            await folder.fold_chunk(part.chunk)
                            continue
                        await folder.refuse(part.chunk.records[0], str(part.refusal))
                        if part.must_be_saved:
                            await checkpoints.finish()
                    context.after_chunk(self, fold)
                    queue.done(chunk)
                    self._moved()
            checkpoints.collect()
            checkpoints.begin_if_due()
            if checkpoints.overfull and checkpoints.running:
                await checkpoints.wait()
            elif fold.work and (work_first or not queue):
                await self._until_work_is_due(incarnation)
            elif not queue:
                await self._idle(incarnation)
            else:
                await folder.slice.share()

    def _interrupted(self, incarnation: Incarnation) -> bool:
        return self._closing or self._lost or incarnation.database.damaged

    async def _until_work_is_due(self, incarnation: Incarnation) -> None:
        """Yield to everything else until deferred work is due, or something happens."""
        loop, folder = self._context.loop, incarnation.folder
        self._woken.clear()
        pause = folder.schedule.due - loop.time()
        if pause <= 0 or self._interrupted(incarnation):
            await asyncio.sleep(0)
        else:
            timer = loop.call_later(pause, self._woken.set)
            await self._woken.wait()
            timer.cancel()
        folder.slice.begin()

    async def _idle(self, incarnation: Incarnation) -> None:
        self._woken.clear()
        if not (self._queue or self._interrupted(incarnation)):
            await self._woken.wait()
        incarnation.folder.slice.begin()

    def _moved(self) -> None:
        position = self.position
        if self.state is State.CATCHING_UP and position >= self.progress.catch_up_to:
            self.progress.state = State.READY
            self.progress.failure = self.progress.needs = None
            self._context.on_ready(self)
        self._waiters.wake(position)

    async def _release(self, resources: ExitStack) -> None:
        """Drop the incarnation, and with it everything that was not committed."""
        self._releasing = True
        self._queue.stop()
        incarnation, self._incarnation = self._incarnation, None
        if incarnation is not None:
            await incarnation.checkpoints.stop()
        self._waiters.wake_all()
        try:
            await self._context.blocking(resources.close)
        except Exception:  # this task must go on, to open the partition again
            logger.exception("%s: cannot close its database or its producer", self.spec.name)
        self._context.on_lost(self)
