"""Opens a table partition: all that exists while it is open is made here, and dropped whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, TypeVar

from streams.engine.changelog import (
    MARKER,
    ChangelogWriter,
    Stopped,
    unpack_marker,
)
from streams.engine.changelog_reader import ChangelogReader
from streams.engine.checkpointing import Checkpointer
from streams.engine.database import Database, open_or_rebuild
from streams.engine.folding import MOST_WORK, Folder
from streams.engine.native_rows import open_rows
from streams.engine.overlay import ChangedRows
from streams.engine.ports import Context
from streams.engine.progress import PartitionSpec, Progress, State
from streams.fold import Fold

logger = logging.getLogger(__name__)
T = TypeVar("T")

WORK_SECONDS: Final = 20.0
"""How long deferred work may delay a checkpoint; after that, nothing else is done before it."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One opening of a partition, from the fencing of the former owner to its release.

    Whatever was not committed is dropped with it.
    """

    database: Database
    rows: ChangedRows
    folder: Folder
    checkpoints: Checkpointer

    @property
    def fold(self) -> Fold:
        """The fold of these rows."""
        return self.folder.fold

    @property
    def work_comes_first(self) -> bool:
        """Whether deferred work must be done before anything else."""
        left = len(self.fold.work)
        if not left:
            return False
        checkpoints = self.checkpoints
        return left > MOST_WORK or checkpoints.late > WORK_SECONDS or checkpoints.overfull

    @property
    def unfinished(self) -> tuple[int, int]:
        """Outputs sent and rows changed since the last checkpoint began."""
        return self.folder.tracker.sent, self.rows.pending

    def sizes(self) -> dict[str, int]:
        """Return rows and bytes in the overlay and in the database."""
        return self.database.sizes() | {
            "overlay_rows": self.rows.pending,
            "overlay_bytes": self.rows.pending_bytes,
        }


@dataclass(frozen=True, slots=True)
class Opening:
    """The steps that make an `Incarnation`; those that block wait for a thread, one by one."""

    context: Context
    spec: PartitionSpec
    progress: Progress
    closing: Callable[[], bool]
    """Whether the partition is being closed, so that opening must end; for any thread."""
    stopped: Callable[[], bool]
    """Whether checkpoints must end, too; for any thread."""
    wake: Callable[[], None]
    """Wakes the partition's task; for the event loop."""

    async def run(self, resources: ExitStack) -> Incarnation:
        """Fence the former owner and bring the rows up to the end of the changelog.

        Whatever comes of it, the caller must close `resources`, in a worker thread.

        Raises:
            Stopped, Fenced, ChangelogBroken, Unavailable
        """
        context, spec, progress = self.context, self.spec, self.progress
        progress.state = State.OPENING
        writer = ChangelogWriter(
            spec.changelog_topic,
            spec.number,
            context.client,
            f"{context.app_id}-{spec.table}-{spec.number}",
            self.stopped,
            context.compute_lock,
            context.core,
        )
        resources.callback(writer.close)
        await self.in_turn(writer.open)
        database = await self.in_turn(self._open_database)
        resources.callback(database.close_or_wipe)
        progress.state = State.RESTORING
        await self.in_turn(lambda: self._restore(database))
        marker = await context.blocking(database.get, MARKER)
        progress.position = progress.checkpointed = unpack_marker(marker) or 0
        rows = open_rows(database, context.core)
        folder = Folder(context, spec, spec.factory(rows, spec.number), progress)
        progress.catch_up_to = await context.blocking(context.log_end, spec.source)
        checkpoints = Checkpointer(
            context, spec, progress, rows, database, writer, folder, self.wake
        )
        progress.state = State.CATCHING_UP
        return Incarnation(database, rows, folder, checkpoints)

    async def in_turn(self, call: Callable[[], T]) -> T:
        """Run a blocking step in a thread; until there is one for it, it is `queued`."""
        progress = self.progress

        def begun() -> T:
            progress.queued = False
            return call()

        progress.queued = True
        return await self.context.restoring(begun)

    def _open_database(self) -> Database:
        context, spec = self.context, self.spec
        database = open_or_rebuild(
            spec.path,
            context.runtime.resources,
            context.topic_id(spec.changelog_topic),
            context.tombstone_ms,
            lambda: context.log_end(spec.changelog, committed=False),
            self._notice_damage,
        )
        if self.closing():  # the caller may have stopped waiting for it
            database.close_or_wipe()
            raise Stopped
        return database

    def _notice_damage(self) -> None:
        self.context.loop.call_soon_threadsafe(self.wake)

    def _restore(self, database: Database) -> None:
        """Apply the changelog up to its end."""
        context, spec, progress = self.context, self.spec, self.progress
        topic_id = context.topic_id(spec.changelog_topic)
        progress.restored_to = database.next_offset
        # All former writers are fenced: nothing comes after this. A transaction of somebody
        # else may hold the partition: what comes after it is waited for.
        end = progress.restore_end = context.log_end(spec.changelog, committed=False)
        # One more is the commit of the last transaction; another takes at least two.
        if database.next_offset + 1 < end:
            reader = ChangelogReader(
                spec.changelog_topic, spec.number, context.client, database, topic_id
            )
            try:
                # The reader may report an end before that: a broker that has just become the
                # leader may not know yet how far the log goes.
                while database.next_offset + 1 < end:
                    if self.closing():
                        raise Stopped
                    count, _ = reader.read(0.2)
                    progress.restored_rows += count
                    progress.restored_to = database.next_offset
            finally:
                reader.close()
        # Nothing is missing: the rows are current now, however old the last of them is.
        database.write((), database.next_offset, int(time.time() * 1000), topic_id)
