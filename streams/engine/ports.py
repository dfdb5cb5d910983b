"""What a partition needs of the engine around it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from streams.engine.output import DeliveryTracker
from streams.fold import Fold, Record
from streams.native import Library

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.engine.checkpoint import Checkpoint
    from streams.engine.holds import Hold
    from streams.engine.partition import Partition
    from streams.engine.runtime import Runtime

T = TypeVar("T")


class Context(Protocol):
    """Shared by all partitions of one worker; methods are called in the event loop.

    The exceptions are `topic_id`, `log_start`, `log_end` and `step`, which worker threads call,
    too.
    """

    loop: asyncio.AbstractEventLoop
    app_id: str
    client: Mapping[str, Any]
    """Base configuration of confluent-kafka clients."""

    @property
    def core(self) -> Library | None:
        """The native core, if it is in use."""
        ...

    @property
    def runtime(self) -> Runtime:
        """Readers and producers; there once the engine has started."""
        ...

    compute_lock: threading.Lock
    """Held while a checkpoint computes, so that only one thread at a time competes with the
    event loop for the interpreter; never held while waiting."""
    checkpoint_seconds: float
    checkpoint_rows: int

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of changed rows that trigger a checkpoint."""
        ...

    tombstone_ms: int
    """How long the changelogs keep tombstones."""

    async def blocking(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call in a worker thread."""
        ...

    async def restoring(self, call: Callable[..., T], *args: Any) -> T:
        """Run a call that may block for minutes in one of a few threads."""
        ...

    def topic_id(self, topic: str) -> bytes:
        """Return 16 bytes that identify this incarnation of a topic."""
        ...

    def log_start(self, partition: tuple[str, int]) -> int:
        """Return the first offset that a partition still has; raises Unavailable. Blocks."""
        ...

    def log_end(self, partition: tuple[str, int], committed: bool = True) -> int:
        """Return the end of a partition, or of its committed part, as Kafka knows it. Blocks."""
        ...

    def high_watermark(self, partition: tuple[str, int]) -> int:
        """Return the end of a watched partition's log, as last seen; 0 if unknown."""
        ...

    def hold(self, partition: tuple[str, int]) -> Hold | None:
        """Return the open transaction that holds a partition, if one does."""
        ...

    def next_epoch(self) -> int:
        """Return a number that no earlier assignment of a source has had."""
        ...

    def lease_valid(self, source: tuple[str, int]) -> bool:
        """Return whether a source partition certainly still belongs to this worker."""
        ...

    def committed(self, source: tuple[str, int], offset: int) -> None:
        """Commit a source offset to the consumer group soon."""
        ...

    async def dead_letter(
        self, topic: str, record: Record, reason: str, tracker: DeliveryTracker
    ) -> None:
        """Append a record that could not be folded to the dead letters."""
        ...

    def after_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Take note that a checkpoint is durable."""
        ...

    def after_chunk(self, partition: Partition, fold: Fold) -> None:
        """Take note that a chunk has been folded; its rows can be read."""
        ...

    def on_ready(self, partition: Partition) -> None:
        """Take note that the partition answers reads from now on."""
        ...

    def on_lost(self, partition: Partition) -> None:
        """Take note that the partition has stopped answering reads."""
        ...

    def step(self, name: str, step: str) -> None:
        """Take note that a checkpoint begins a step; tests stop the process here."""
        ...
