"""One checkpoint of one table partition: state and position become durable together.

The order matters, so it is numbered here and in `Checkpoint.run`:

1. every output of the records folded so far is in Kafka;
2. the changed rows and the marker with the source offset are in the changelog, in one
   transaction;
3. rows, marker and, last, the changelog offset are in the database;
4. the source offset is committed to the consumer group, for lag tools only.

After a crash before 2 is committed, the previous checkpoint is in force.  After a later one,
the next start reads what is missing from the changelog.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import chain

from streams.engine.changelog import MARKER, ChangelogWriter, pack_marker
from streams.engine.database import Database
from streams.engine.output import DeliveryTracker
from streams.engine.overlay import FrozenRows
from streams.engine.ports import Context


@dataclass(slots=True)
class Checkpoint:
    """The content of one checkpoint; `run` writes it."""

    context: Context
    name: str
    source: tuple[str, int]
    position: int
    layer: FrozenRows
    tracker: DeliveryTracker
    writer: ChangelogWriter
    database: Database
    topic_id: bytes
    rows: int = 0
    writing: bool = False
    """Whether a worker thread is writing to the changelog or the database."""
    doing: str = "not begun"
    """The step that it is at."""
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    async def run(self) -> int:
        """Carry out the four steps.

        Returns:
            the changelog offset after the marker.

        Raises:
            Fenced: another worker has opened the partition; nothing was written.
            ChangelogBroken, Stopped, Unavailable
        """
        context = self.context
        self._begin_step("outputs")
        await self.tracker.settled()  # 1
        self._begin_step("changelog")
        self.writing = True
        next_offset = await context.blocking(self._write)  # 2 and 3
        self._begin_step("commit")
        context.committed(self.source, self.position)  # 4
        self.seconds = time.monotonic() - self.began
        return next_offset

    def dispose(self) -> None:
        """Free the rows, in a worker thread: many take long, and nothing waits for it."""
        self.layer.dispose()

    def _begin_step(self, step: str) -> None:
        self.doing = step
        self.context.step(self.name, step)

    def _write(self) -> int:
        self.rows = len(self.layer)
        next_offset = self.writer.append(self.layer, self.position)
        self._begin_step("database")
        rows = chain(self.layer.rows(), [(MARKER, pack_marker(self.position))])
        with self.context.compute_lock:
            self.database.write(rows, next_offset, int(time.time() * 1000), self.topic_id)
        return next_offset
