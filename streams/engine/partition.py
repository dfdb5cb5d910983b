"""One active table partition: opened, folded, checkpointed, closed.

States and what may follow:

    opening ──► restoring ──► catching-up ──► ready
       ▲            │              │            │
       └────────────┴── failed ◄───┴────────────┘        (and closed, from any)

*opening*: the former writer is fenced and the database opened.  *restoring*: committed
rows of the changelog are applied, up to its end.  *catching-up*: source records are folded
up to where the source ended when the partition was opened, so that no answer is older
than one that a former owner may have given.  *failed*: what was not committed is
discarded, and the partition opened afresh.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from streams.engine.changelog import (
    MARKER,
    ChangelogBroken,
    ChangelogReader,
    ChangelogWriter,
    Fenced,
    Stopped,
    unpack_marker,
)
from streams.engine.checkpoint import Checkpoint
from streams.engine.database import Damaged, Database, open_or_rebuild, wipe
from streams.engine.output import DeliveryTracker
from streams.engine.overlay import OverlayRows
from streams.engine.ports import Context
from streams.engine.source import Chunk
from streams.errors import Unavailable
from streams.fold import BadRecord, Fold, FoldFactory, Record

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.002
"""How long a fold may keep the event loop before others get a turn: with all of 16 busy, a
request waits for 16 of these."""

RECORDS_PER_LOOK = 64
"""Records folded between two looks at the clock."""

WORK_SLICE_SECONDS = 0.001
"""How long the work that records have left for later goes on at a time."""
WORK_PAUSE_SECONDS = (0.004, 0.012)
"""The pause after that: from the first while the event loop is at ease, to the second."""
LATE_SECONDS = 0.003
"""An event loop that is so late is not at ease."""
MOST_WORK = 8
"""Records that may have left work; with more, no record is folded before one has ended."""
WORK_SECONDS = 20.0
"""For so long that work may put off a checkpoint; then nothing else is done before it."""


class State(enum.StrEnum):
    """See the module's docstring."""

    OPENING = "opening"
    RESTORING = "restoring"
    CATCHING_UP = "catching-up"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class Partition:
    """The active owner of one table partition; runs as one task in the event loop."""

    def __init__(
        self,
        context: Context,
        table: str,
        source_topic: str,
        changelog_topic: str,
        number: int,
        factory: FoldFactory,
        path: Path,
    ) -> None:
        self.table = table
        self.number = number
        self.source_topic = source_topic
        self.changelog_topic = changelog_topic
        self.state = State.OPENING
        self.position = 0
        """The next source offset to fold."""
        self.checkpointed = 0
        """The source offset of the last checkpoint."""
        self.folding = False
        """Whether a chunk is half folded, so that rows are ahead of `position`."""
        self.queued = False
        """Whether it waits for its turn to be opened, while others are."""
        self.restored_rows = 0
        self.restored_to = 0
        """The changelog offset that the database has been brought to, by whatever way."""
        self.folded = 0
        self.dead_letters = 0
        self.last_checkpoint: Checkpoint | None = None
        self.failures = 0
        self.checkpoints = 0
        self.failed_checkpoints = 0
        self.chunks = 0
        self.restore_end = 0
        """End of the changelog when this incarnation began to restore."""
        self.caught_up_at: float | None = None
        """The last time (monotonic) that nothing was left to fold, as far as was looked."""
        self.folded_to_ms = 0
        """Log time of the last record folded, in ms."""
        self._context = context
        self._factory = factory
        self._path = path
        self._database: Database | None = None
        self._writer: ChangelogWriter | None = None
        self._rows: OverlayRows | None = None
        self._fold: Fold | None = None
        self._tracker = DeliveryTracker(context.loop)
        self._chunks: deque[Chunk] = deque()
        self._woken = asyncio.Event()
        self._closing = False
        self._releasing = False
        self._lost = False
        self._damaged = False
        self._final_checkpoint = False
        self._accepted = 0
        self._epoch = 0
        self._catch_up_to = 0
        self._changelog_end = 0
        self._checkpoint: asyncio.Task[None] | None = None
        self._checkpoint_now: Checkpoint | None = None
        self._checkpoint_due = 0.0
        self._slice_began = 0.0
        self._work_due = 0.0
        self._work_pause = WORK_PAUSE_SECONDS[0]
        self._position_waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    # For readers --------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether reads may be answered from `rows`."""
        source = (self.source_topic, self.number)
        return (
            self.state is State.READY
            and not self._lost
            and not self._damaged
            and self._context.lease_valid(source)
        )

    @property
    def rows(self) -> OverlayRows:
        """The rows; read them only when `ready`, and hold no iterator over an await."""
        if self._rows is None:
            raise Unavailable(f"{self.table}/{self.number} is {self.state}")
        return self._rows

    @property
    def fold(self) -> Fold | None:
        """What folds into the rows, None while they are not there; not to be changed."""
        return self._fold

    @property
    def source_end(self) -> int:
        """End of the source partition's log (next offset), as far as it is known."""
        end = self._context.source.end((self.source_topic, self.number))
        return max(self.position, self._catch_up_to, end or 0)

    @property
    def lag_seconds(self) -> float:
        """For how long records have been waiting to be folded; 0 when there are none."""
        if self.source_end <= self.position:
            return 0.0
        waits = [time.time() - self.folded_to_ms / 1000] if self.folded_to_ms else []
        if self.caught_up_at is not None:
            waits.append(time.monotonic() - self.caught_up_at)
        return max(0.0, min(waits, default=0.0))

    @property
    def restored(self) -> float:
        """How much of the changelog has been read back, from 0 to 1."""
        if self.state in (State.CATCHING_UP, State.READY):
            return 1.0
        if self.state is not State.RESTORING or not self.restore_end:
            return 0.0
        return min(1.0, self.restored_to / self.restore_end)

    @property
    def stored(self) -> Database:
        """The rows of the last checkpoint, in the database, for who need not see the newest."""
        if self._database is None:
            raise Unavailable(f"{self.table}/{self.number} is {self.state}")
        return self._database

    def sizes(self) -> dict[str, int]:
        """Rows and bytes in the overlay and in the database."""
        rows, database = self._rows, self._database
        if rows is None or database is None:
            return {}
        return database.sizes() | {
            "overlay_rows": rows.pending,
            "overlay_bytes": rows.pending_bytes,
        }

    @property
    def work_left(self) -> int:
        """Records whose work is not done yet."""
        return len(self._fold.work) if self._fold is not None else 0

    @property
    def saving(self) -> bool:
        """Whether a checkpoint is under way, or due."""
        return self._checkpoint is not None or self._context.loop.time() > self._checkpoint_due

    @property
    def unfinished(self) -> tuple[int, int]:
        """Changes with every step within a chunk: outputs sent, rows changed."""
        return self._tracker.sent, self._rows.pending if self._rows is not None else 0

    async def reached(self, offset: int, timeout: float) -> bool:
        """Wait until the record at a source offset has been folded.

        Returns:
            False when `timeout` seconds have passed first, or the partition was lost.
        """
        if self.position > offset:
            return True
        waiter: asyncio.Future[None] = self._context.loop.create_future()
        self._position_waiters.append((offset, waiter))
        try:
            await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            return False
        finally:
            self._position_waiters = [w for w in self._position_waiters if w[1] is not waiter]
        return self.position > offset

    # For the engine -----------------------------------------------------------------

    def start(self) -> None:
        """Begin opening; returns at once."""
        self._task = self._context.loop.create_task(self._run(), name=f"{self.table}/{self.number}")

    def accept(self, chunk: Chunk) -> None:
        """Take a chunk to be folded; one that does not follow the last is dropped.

        When records are missing before it, the source is read again from where this
        partition stands.
        """
        if chunk.epoch != self._epoch:
            self._context.source.done(chunk)
            return
        if chunk.begin > self._accepted:
            self._context.source.done(chunk)
            self._reread()
            return
        self._accepted = chunk.end
        self._chunks.append(chunk)
        self._woken.set()

    def reread(self) -> None:
        """Read the source again from here on, as after a pause in which chunks were dropped."""
        if self.state in (State.CATCHING_UP, State.READY):
            self._reread()

    def remind(self, now: float) -> None:
        """Go on if a checkpoint is due at `now` (the loop's time)."""
        if self._checkpoint is None and now >= self._checkpoint_due:
            self._woken.set()
        if self.source_end <= self.position:
            self.caught_up_at = time.monotonic()

    async def still_mine(self) -> bool:
        """After a rebalance: check that nobody else has written to the changelog meanwhile."""
        if self.state not in (State.CATCHING_UP, State.READY):
            return True
        before = self._checkpoint_now
        if self._checkpoint is not None:
            return True  # its own checkpoint will find out
        end = await self._context.blocking(self._context.changelog_end, self._topic_partition)
        # One more is the commit of the last checkpoint; a checkpoint takes at least two.
        return self._checkpoint_now is not before or end <= self._changelog_end + 1

    def reopen(self) -> None:
        """Discard what is not committed and open afresh: somebody else wrote meanwhile."""
        if self._task is not None and not self._closing:
            self._lost = True
            self._woken.set()

    async def close(self, checkpoint: bool, timeout: float = 10.0) -> None:
        """Stop folding and close; with `checkpoint`, commit what was folded first.

        After `timeout` seconds (the broker may be away) what is not committed is dropped:
        the next owner folds it again.
        """
        self._closing = True
        self._final_checkpoint = checkpoint
        self._woken.set()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=timeout)
            if late:
                self._final_checkpoint = False
                if not self._releasing:  # what closes the database must not end half way
                    self._task.cancel()
                await asyncio.wait([self._task])
            self._task = None
        self.state = State.CLOSED

    # The task -----------------------------------------------------------------------

    @property
    def _topic_partition(self) -> tuple[str, int]:
        return (self.changelog_topic, self.number)

    def _stopped(self) -> bool:
        return self._releasing or (self._closing and not self._final_checkpoint)

    async def _run(self) -> None:
        while not self._closing:
            try:
                await self._until_member()
                await self._open()
                await self._work()
                if self._final_checkpoint:
                    await self._checkpoint_last()
            except Stopped:
                pass
            except Fenced:
                logger.warning("%s/%d: another worker took over", self.table, self.number)
                self._failed()
                await self._pause(0.5)
            except Exception as exc:
                logger.error(
                    "%s/%d: %s: %s; opening it afresh",
                    self.table,
                    self.number,
                    type(exc).__name__,
                    exc,
                    exc_info=not isinstance(exc, (ChangelogBroken, Unavailable)),
                )
                self._failed()
                await self._pause(1.0)
            finally:
                await self._release()

    def _failed(self) -> None:
        self.state = State.FAILED
        self.failures += 1

    async def _pause(self, seconds: float) -> None:
        self._woken.clear()
        if not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken.wait()

    async def _until_member(self) -> None:
        """Wait while the group may have given this partition to another.

        Opening fences whoever has it open: a worker that was fenced itself, and has not been
        told yet that its partitions have moved, must not do that to the new owner.
        """
        while not self._context.lease_valid((self.source_topic, self.number)):
            if self._closing:
                raise Stopped
            await self._pause(0.2)

    async def _open(self) -> None:
        context = self._context
        self.state = State.OPENING
        self._lost = self._releasing = False
        self._writer = ChangelogWriter(
            self.changelog_topic,
            self.number,
            context.client,
            f"{context.app_id}-{self.table}-{self.number}",
            self._stopped,
            context.compute_lock,
        )
        await self._in_turn(self._writer.open)
        await self._in_turn(self._open_database)
        self.state = State.RESTORING
        await self._in_turn(self._restore)
        database = self._database
        assert database is not None
        marker = await context.blocking(database.get, MARKER)
        self.position = self.checkpointed = self._accepted = unpack_marker(marker) or 0
        self._changelog_end = database.next_offset
        self._rows = OverlayRows(database)
        self._fold = self._factory(self._rows, self.number)
        self._tracker = DeliveryTracker(context.loop)
        self._catch_up_to = await context.blocking(
            context.source_end, (self.source_topic, self.number)
        )
        self.state = State.CATCHING_UP
        # Not all partitions at the same time: others would wait for all of them.
        phase = zlib.crc32(f"{self.table}/{self.number}".encode()) % 1000 / 1000
        self._checkpoint_due = context.loop.time() + context.checkpoint_seconds * (0.5 + phase)
        self._reread()
        self._moved()

    async def _in_turn(self, call: Callable[[], None]) -> None:
        """Run a step of opening in a thread; until there is one for it, it is `queued`."""

        def begun() -> None:
            self.queued = False
            call()

        self.queued = True
        await self._context.restoring(begun)

    def _open_database(self) -> None:
        context = self._context
        if self._damaged:
            logger.warning("%s is damaged: rebuilding from the changelog", self._path)
            wipe(self._path)
        self._database = open_or_rebuild(
            self._path,
            context.resources,
            context.topic_id(self.changelog_topic),
            context.tombstone_ms,
            lambda: context.changelog_end(self._topic_partition),
            self._notice_damage,
        )
        self._damaged = False

    def _notice_damage(self) -> None:
        """Stop answering, and open afresh without what is on disk; called from any thread."""
        self._damaged = True
        self._context.loop.call_soon_threadsafe(self._woken.set)

    def _restore(self) -> None:
        context, database = self._context, self._database
        assert database is not None
        topic_id = context.topic_id(self.changelog_topic)
        self.restored_to = database.next_offset
        # All former writers are fenced: nothing comes after this.
        end = self.restore_end = context.changelog_end(self._topic_partition)
        # One more is the commit of the last transaction; another takes at least two.
        if database.next_offset + 1 < end:
            reader = ChangelogReader(
                self.changelog_topic, self.number, context.client, database, topic_id
            )
            try:
                # The reader may report an end before that: a broker that has just become the
                # leader may not know yet how far the log goes.
                while database.next_offset + 1 < end:
                    if self._closing:
                        raise Stopped
                    count, _ = reader.read(0.2)
                    self.restored_rows += count
                    self.restored_to = database.next_offset
            finally:
                reader.close()
        # Nothing is missing: the rows are current now, however old the last of them is.
        database.write((), database.next_offset, int(time.time() * 1000), topic_id)

    def _reread(self) -> None:
        """Have the source read again from behind the last chunk that was accepted."""
        self._epoch = self._context.next_epoch()
        for chunk in self._chunks:
            chunk.epoch = -1  # of an older assignment: its records no longer count there
        self._context.source.assign((self.source_topic, self.number), self._accepted, self._epoch)

    async def _work(self) -> None:
        context, fold = self._context, self._fold
        assert fold is not None
        while not self._closing:
            if self._lost:
                raise Fenced("somebody else wrote to the changelog")
            if self._damaged:
                raise Damaged(f"{self._path} is damaged")
            behind = self._behind_with_work()
            if fold.work and (behind or self._work_is_due()):
                await self._do_work(fold)
            if self._chunks and not behind:
                chunk = self._chunks.popleft()
                self.folding = True
                await self._fold_chunk(chunk)
                self.folding = False
                context.after_chunk(self, fold)
                context.source.done(chunk)
                self._moved()
            self._collect_checkpoint()
            if self._wants_checkpoint():
                self._begin_checkpoint()
            if self._overfull() and self._checkpoint is not None:
                await asyncio.wait([self._checkpoint])
                self._collect_checkpoint()
            elif fold.work and (behind or not self._chunks):
                await self._until_work_is_due()
            elif not self._chunks:
                await self._idle()
            else:
                await self._breathe()

    def _behind_with_work(self) -> bool:
        """Tell whether what records left to be done must be done before anything else."""
        assert self._fold is not None
        left = len(self._fold.work)
        if not left:
            return False
        late = self._context.loop.time() - self._checkpoint_due > WORK_SECONDS
        return left > MOST_WORK or late or self._overfull()

    def _work_is_due(self) -> bool:
        return self._context.loop.time() >= self._work_due

    async def _do_work(self, fold: Fold) -> None:
        """Do some of what records left to be done."""
        late = self._context.loop.time() - self._work_due > LATE_SECONDS
        least, most = WORK_PAUSE_SECONDS
        pause = self._work_pause * (1.5 if late else 0.9)
        self._work_pause = min(max(pause, least), most)
        end = time.monotonic() + WORK_SLICE_SECONDS
        while fold.work:
            if next(fold.work[0], _ENDED) is _ENDED:
                fold.work.popleft()
            if fold.ready:
                await self._send(fold)
            if time.monotonic() >= end:
                break
        self._work_due = self._context.loop.time() + self._work_pause

    async def _until_work_is_due(self) -> None:
        """Let everything else have its turn, and wait for a chunk no longer than that."""
        self._woken.clear()
        pause = self._work_due - self._context.loop.time()
        if pause <= 0 or self._closing or self._lost or self._damaged:
            await asyncio.sleep(0)
        else:
            timer = self._context.loop.call_later(pause, self._woken.set)
            await self._woken.wait()
            timer.cancel()
        self._slice_began = time.monotonic()

    async def _idle(self) -> None:
        self._woken.clear()
        if not (self._chunks or self._closing or self._lost or self._damaged):
            await self._woken.wait()
        self._slice_began = time.monotonic()

    async def _breathe(self) -> None:
        """Give the event loop a turn if this partition has had it for long."""
        if time.monotonic() - self._slice_began > SLICE_SECONDS:
            await asyncio.sleep(0)
            self._slice_began = time.monotonic()

    async def _fold_chunk(self, chunk: Chunk) -> None:
        fold = self._fold
        assert fold is not None
        apply, ready = fold.apply, fold.ready
        position = self.position
        first = chunk.records[0].offset if chunk.records else chunk.end
        if first > position and chunk.begin <= position:
            logger.warning(
                "%s/%d: offsets %d to %d are gone from the log",
                self.source_topic,
                self.number,
                position,
                first - 1,
            )
        count = 0
        for record in chunk.records:
            if record.offset < position:
                continue
            try:
                steps = apply(record)
                if steps is not None:
                    for _ in steps:
                        if ready:
                            await self._send(fold)
                        await self._breathe()
            except BadRecord as exc:
                await self._dead_letter(record, str(exc))
            except Unavailable:  # rows that cannot be read, outputs that are not taken
                raise
            except Exception as exc:  # a defect of the fold must not stop the partition
                logger.exception("%s/%d: offset %d", self.source_topic, self.number, record.offset)
                await self._dead_letter(record, f"internal error: {type(exc).__name__}: {exc}")
            if ready:
                await self._send(fold)
            if len(fold.work) > MOST_WORK:  # each may hold a copy of rows
                fold.flush()  # what was packed before goes first
                await self._send(fold)
                while len(fold.work) > MOST_WORK:
                    await self._do_work(fold)
                    await self._breathe()
            count += 1
            if not count % RECORDS_PER_LOOK:
                await self._breathe()
        fold.flush()
        await self._send(fold)
        self.position = chunk.end
        self.folded += count
        self.chunks += 1
        if chunk.records:
            self.folded_to_ms = chunk.records[-1].timestamp

    async def _send(self, fold: Fold) -> None:
        if not fold.ready:
            return
        tracker = self._tracker
        if fold.may_wait:
            await self._context.pacer.room.wait()
            self._context.pacer.send(fold.ready, tracker)
        else:
            await self._context.outputs.send(fold.ready, tracker)
        fold.ready.clear()

    async def _dead_letter(self, record: Record, reason: str) -> None:
        self.dead_letters += 1
        await self._context.dead_letter(self.source_topic, record, reason, self._tracker)

    def _moved(self) -> None:
        position = self.position
        if self.state is State.CATCHING_UP and position >= self._catch_up_to:
            self.state = State.READY
            self._context.on_ready(self)
        for offset, waiter in self._position_waiters:
            if offset < position and not waiter.done():
                waiter.set_result(None)

    # Checkpoints --------------------------------------------------------------------

    def _overfull(self) -> bool:
        rows = self._rows
        assert rows is not None
        return (
            rows.pending >= self._context.checkpoint_rows
            or rows.pending_bytes >= self._context.checkpoint_bytes
        )

    def _wants_checkpoint(self) -> bool:
        if self._checkpoint is not None or self.position == self.checkpointed or self.work_left:
            return False
        return self._overfull() or self._context.loop.time() >= self._checkpoint_due

    def _begin_checkpoint(self) -> None:
        rows, database, writer = self._rows, self._database, self._writer
        assert rows is not None
        assert database is not None
        assert writer is not None
        context = self._context
        checkpoint = Checkpoint(
            context=context,
            name=f"{self.table}/{self.number}",
            source=(self.source_topic, self.number),
            position=self.position,
            layer=rows.freeze(),
            tracker=self._tracker,
            writer=writer,
            database=database,
            topic_id=context.topic_id(self.changelog_topic),
        )
        self._tracker = DeliveryTracker(context.loop)
        self._checkpoint_due = context.loop.time() + context.checkpoint_seconds
        self._checkpoint_now = checkpoint
        self._checkpoint = context.loop.create_task(self._checkpointed(checkpoint))
        # One that failed must be looked at, even if there is nothing else to do.
        self._checkpoint.add_done_callback(lambda _: self._woken.set())

    async def _checkpointed(self, checkpoint: Checkpoint) -> None:
        self._changelog_end = await checkpoint.run()
        assert self._rows is not None
        self._rows.thaw()
        self.checkpointed = checkpoint.position
        self.last_checkpoint = checkpoint
        self.checkpoints += 1
        self._context.after_checkpoint(checkpoint)
        await self._context.blocking(checkpoint.dispose)

    def _collect_checkpoint(self) -> None:
        """Raise what the last checkpoint failed with, once it has ended."""
        if self._checkpoint is not None and self._checkpoint.done():
            task, self._checkpoint = self._checkpoint, None
            if not task.cancelled() and task.exception() is not None:
                self.failed_checkpoints += 1
            task.result()

    async def _checkpoint_last(self) -> None:
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint])
            self._collect_checkpoint()
        assert self._fold is not None
        while self._fold.work:
            await self._do_work(self._fold)
            await self._breathe()
        if self.position > self.checkpointed:
            self._begin_checkpoint()
            assert self._checkpoint is not None
            await asyncio.wait([self._checkpoint])
            self._collect_checkpoint()

    async def _release(self) -> None:
        """Close everything of this incarnation; whatever was not committed is dropped."""
        context = self._context
        self._releasing = True
        context.source.unassign((self.source_topic, self.number))
        self._epoch = 0
        for chunk in self._chunks:
            context.source.done(chunk)
        self._chunks.clear()
        if self._checkpoint is not None:
            # A thread of it may hold the database: it sees that it should stop, and ends.
            if self._checkpoint_now is not None and not self._checkpoint_now.writing:
                self._checkpoint.cancel()
            await asyncio.wait([self._checkpoint])
            if not self._checkpoint.cancelled():
                self._checkpoint.exception()
            self._checkpoint = None
        # What is not sent yet never will be: the next owner folds those records again.
        self._tracker.dropped = True
        if self._checkpoint_now is not None:
            self._checkpoint_now.tracker.dropped = True
        self._rows = self._fold = None
        self.folding = False
        for _offset, waiter in self._position_waiters:
            if not waiter.done():
                waiter.set_result(None)
        writer, self._writer = self._writer, None
        database, self._database = self._database, None
        try:
            await context.blocking(_close, writer, database)
        except Exception:  # the task of this partition must live on, to open it afresh
            logger.exception("%s/%d: while closing", self.table, self.number)
        context.on_lost(self)


_ENDED = object()


def _close(writer: ChangelogWriter | None, database: Database | None) -> None:
    try:
        if writer is not None:
            writer.close()
    finally:
        if database is not None:
            database.close()
