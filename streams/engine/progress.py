"""How far a table partition has got: what others may read of it, whether it is open or not."""

from __future__ import annotations

import asyncio
import enum
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streams.fold import FoldFactory

if TYPE_CHECKING:
    from streams.engine.checkpoint import Checkpoint
    from streams.engine.translation import Translator


class State(enum.StrEnum):
    """The states of a partition; `streams.engine.partition` says what follows what."""

    OPENING = "opening"
    RESTORING = "restoring"
    CATCHING_UP = "catching-up"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """Which partition of which table, and where its records and rows are."""

    table: str
    number: int
    source_topic: str
    changelog_topic: str
    factory: FoldFactory
    path: Path
    """Folder of its database."""
    translator: Translator | None = None
    """Reads records that the fold cannot read as they are."""

    @property
    def name(self) -> str:
        """Table and number, such as `queues/3`."""
        return f"{self.table}/{self.number}"

    @property
    def source(self) -> tuple[str, int]:
        """Source topic and partition number."""
        return (self.source_topic, self.number)

    @property
    def changelog(self) -> tuple[str, int]:
        """Changelog topic and partition number."""
        return (self.changelog_topic, self.number)


@dataclass(slots=True)
class Progress:
    """Positions and totals of one partition, kept while it is closed and reopened."""

    state: State = State.OPENING
    queued: bool = False
    """Whether a step of opening waits for a free thread, while other partitions open."""
    position: int = 0
    """The next source offset to fold."""
    checkpointed: int = 0
    """The source offset of the last checkpoint."""
    catch_up_to: int = 0
    """End of the source when the partition was last opened."""
    restored_rows: int = 0
    restored_to: int = 0
    """The changelog offset up to which the database was brought while opening."""
    restore_end: int = 0
    """End of the changelog when the partition was last opened."""
    folded: int = 0
    """Records folded."""
    chunks: int = 0
    dead_letters: int = 0
    failures: int = 0
    failure: str | None = None
    """Why the partition failed last; None once it is ready again."""
    needs: str | None = None
    """Why only a newer version of this program can fold the partition; None if this one can."""
    waits: str | None = None
    """What records wait for before they can be translated; None if none do."""
    silences: int = 0
    """Times that the source was read again because nothing came from it."""
    checkpoints: int = 0
    failed_checkpoints: int = 0
    last_checkpoint: Checkpoint | None = None
    caught_up_at: float | None = None
    """The last time (monotonic) at which no record was known to wait."""
    folded_to_ms: int = 0
    """Log time of the last record folded, in ms."""

    @property
    def restored(self) -> float:
        """The part of the changelog that has been read, from 0 to 1."""
        if self.state in (State.CATCHING_UP, State.READY):
            return 1.0
        if self.state is not State.RESTORING or not self.restore_end:
            return 0.0
        return min(1.0, self.restored_to / self.restore_end)

    def lag_seconds(self, source_end: int) -> float:
        """Return how long records have been waiting to be folded; 0 if there are none."""
        if source_end <= self.position:
            return 0.0
        waits = [time.time() - self.folded_to_ms / 1000] if self.folded_to_ms else []
        if self.caught_up_at is not None:
            waits.append(time.monotonic() - self.caught_up_at)
        return max(0.0, min(waits, default=0.0))


class PositionWaiters:
    """Wakes coroutines that wait until a source offset has been folded."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def wait(self, offset: int, timeout: float) -> None:
        """Wait until the offset is folded, but at most `timeout` seconds."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((offset, waiter))
        try:
            await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            pass
        finally:
            self._waiting = [waiting for waiting in self._waiting if waiting[1] is not waiter]

    def wake(self, position: int) -> None:
        """Wake those that wait for an offset below `position`."""
        for offset, waiter in self._waiting:
            if offset < position and not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        """Wake everyone: the partition is lost."""
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
