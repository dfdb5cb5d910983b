"""What a partition needs of the engine around it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from streams.engine.database import Resources
from streams.engine.output import DeliveryTracker, OutputProducer
from streams.engine.pacing import SendPacer
from streams.engine.source import SourceReader
from streams.fold import Fold, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.engine.checkpoint import Checkpoint
    from streams.engine.partition import Partition

T = TypeVar("T")


class Context(Protocol):
    """Shared by all partitions of one worker; methods are called in the event loop.

    The exceptions are `topic_id`, `changelog_end`, `source_end` and `step`,
    which are called from worker threads too.
    """

    loop: asyncio.AbstractEventLoop
    app_id: str
    client: Mapping[str, Any]
    """Base configuration of confluent-kafka clients."""
    resources: Resources
    source: SourceReader
    outputs: OutputProducer
    pacer: SendPacer
    compute_lock: threading.Lock
    """Held by the one checkpoint that computes, so that only one thread at a time contends
    with the event loop for the interpreter; never held while something is waited for."""
    checkpoint_seconds: float
    checkpoint_rows: int

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of changed rows that bring a checkpoint on."""
        ...

    tombstone_ms: int
    """How long the changelogs keep tombstones."""

    async def blocking(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call in a worker thread."""
        ...

    async def restoring(self, call: Callable[..., T], *args: Any) -> T:
        """Run a call that may block for minutes, in its turn: few at a time."""
        ...

    def topic_id(self, topic: str) -> bytes:
        """16 bytes that name this incarnation of a topic."""
        ...

    def changelog_end(self, partition: tuple[str, int]) -> int:
        """Ask the broker for the end of the committed part of a partition. Blocks."""
        ...

    def source_end(self, partition: tuple[str, int]) -> int:
        """Ask the broker for the end of a source partition. Blocks."""
        ...

    def next_epoch(self) -> int:
        """A number that no earlier assignment of a source has had."""
        ...

    def lease_valid(self, source: tuple[str, int]) -> bool:
        """Whether a source partition is known to be this worker's still."""
        ...

    def committed(self, source: tuple[str, int], offset: int) -> None:
        """Commit a source offset to the consumer group, some time soon."""
        ...

    async def dead_letter(
        self, topic: str, record: Record, reason: str, tracker: DeliveryTracker
    ) -> None:
        """Append a record that could not be folded to the dead letters."""
        ...

    def after_checkpoint(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is durable."""
        ...

    def after_chunk(self, partition: Partition, fold: Fold) -> None:
        """A chunk has been folded; its rows can be read."""
        ...

    def on_ready(self, partition: Partition) -> None:
        """The partition answers reads from now on."""
        ...

    def on_lost(self, partition: Partition) -> None:
        """The partition has stopped answering reads."""
        ...

    def step(self, name: str, step: str) -> None:
        """A checkpoint begins a step: a place for tests to stop the process."""
        ...
