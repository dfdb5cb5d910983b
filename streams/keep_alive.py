"""Keeps queues with a TTL alive while they are read.

Folds know what is in the log, not who reads.  The worker that owns a queue knows its readers,
also those at other workers, which read through it.  While there is one it appends a Touch each
quarter of the queue's TTL, and one more after the last reader has left.  A queue thus lives at
least for its TTL after it was last read, and at most for a quarter longer.

Readers of a worker that died come back within seconds, but a TTL may end sooner.  So a new owner
treats the queues that are about to end as read for the first `GRACE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable
from typing import Final

from streams.engine.engine import Engine
from streams.engine.partition import Partition
from streams.errors import StreamsError, Unavailable
from streams.events.codec import encode
from streams.events.records import Touch
from streams.folds.deliver import Deliver
from streams.folds.tables import QUEUES
from streams.kafka.partitioner import partition_of
from streams.settings import Settings

logger = logging.getLogger(__name__)

PER_TTL: Final = 4
"""Touches within the TTL of a queue that is read."""
SHORTEST_SECONDS: Final = 0.05
"""Shortest time between two Touches of one queue."""
GRACE_SECONDS: Final = 20.0
"""How long readers may take to come back to the new owner of a partition."""
LOOK_SECONDS: Final = 15.0
"""Time between two looks at a queue that is read and has no TTL; less than `GRACE_SECONDS`."""
RETRY_SECONDS: Final = 1.0
"""Pause after a Touch that failed, or while this worker cannot read the queue's partition."""
AT_ONCE: Final = 500
"""Queues looked at before the event loop runs other tasks."""
SCANNED_AT_ONCE: Final = 1000
"""Timers looked at before the event loop runs other tasks."""


class _Read:
    """A queue that is read, or was recently."""

    __slots__ = ("due", "held_until", "number", "pending")

    def __init__(self, number: int) -> None:
        self.number = number
        """Number of its partition."""
        self.due = 0.0
        """When to look at the queue next."""
        self.pending = True
        """Whether it was read since the last Touch."""
        self.held_until = 0.0
        """Until when it counts as read although nobody reads it."""


class _Opened:
    """A partition that this worker owns, and since when."""

    __slots__ = ("at", "looked", "partition")

    def __init__(self, partition: Partition, at: float) -> None:
        self.partition = partition
        self.at = at
        self.looked = False
        """Whether queues that are about to end have been looked for."""


class KeepAlive:
    """Appends Touches for the queues of one worker that have a TTL and readers."""

    def __init__(
        self, engine: Engine, settings: Settings, is_read: Callable[[bytes], bool]
    ) -> None:
        """Take what tells whether a queue has a reader at this worker."""
        self._engine = engine
        self._topic = settings.queue_events
        self._partitions = settings.partitions
        self._is_read = is_read
        self._reads: dict[bytes, _Read] = {}
        self._due: list[tuple[float, bytes]] = []
        self._touches: dict[int, set[asyncio.Task[None]]] = {}
        self._failed: dict[int, set[bytes]] = {}
        """By partition, the queues whose last Touch failed."""
        self._opened: dict[int, _Opened] = {}

    def read(self, queue: bytes) -> None:
        """Note that a reader of a queue begins or ends."""
        found = self._reads.get(queue)
        if found is None:
            self._plan(queue, self._new(queue), time.monotonic())
        else:
            found.pending = True

    def configured(self, queue: bytes) -> None:
        """Note that a queue has other options: if it is read, its TTL may end soon."""
        found = self._reads.get(queue)
        if found is not None:
            self._plan(queue, found, time.monotonic())

    def opened(self, partition: Partition) -> None:
        """Note that a partition is ready; nothing happens if that is known."""
        known = self._opened.get(partition.number)
        if known is None or known.partition is not partition:
            self._opened[partition.number] = _Opened(partition, time.monotonic())

    def look(self, ahead: float = 0.0) -> None:
        """Append the Touches that are due, or will be in `ahead` seconds."""
        now = time.monotonic()
        due = self._due
        for _ in range(AT_ONCE):
            if not due or due[0][0] > now + ahead:
                break
            planned, queue = heapq.heappop(due)
            found = self._reads.get(queue)
            if found is not None and found.due == planned:
                self._look_at(queue, found, now)

    async def before_tick(self, partition: Partition, fold: Deliver) -> None:
        """Return once the log says of every queue of a partition that is read that it is in use.

        A Tick that is appended next deletes no queue that is read.

        Raises:
            Unavailable: Kafka has not confirmed a Touch.
        """
        opened = self._opened.get(partition.number)
        if opened is not None and not opened.looked:
            opened.looked = True
            end = opened.at + GRACE_SECONDS
            if time.monotonic() < end:
                await self._hold(fold, end)
        for queue in self._failed.pop(partition.number, ()):
            self._plan(queue, self._reads.get(queue) or self._new(queue), time.monotonic())
        soon = time.monotonic() + SHORTEST_SECONDS
        while self._due and self._due[0][0] <= soon:
            self.look(max(0.0, soon - time.monotonic()))
            await asyncio.sleep(0)
        touches = self._touches.get(partition.number)
        if touches:
            results = await asyncio.gather(*touches, return_exceptions=True)
            if any(isinstance(result, BaseException) for result in results):
                raise Unavailable("Kafka has not confirmed that a queue is read")

    def close(self) -> None:
        """Cancel all Touches: the worker is stopping."""
        for touches in self._touches.values():
            for task in touches:
                task.cancel()

    def _new(self, queue: bytes) -> _Read:
        return _Read(partition_of(queue, self._partitions))

    def _plan(self, queue: bytes, read: _Read, due: float) -> None:
        read.due = due
        self._reads[queue] = read
        heapq.heappush(self._due, (due, queue))

    def _look_at(self, queue: bytes, read: _Read, now: float) -> None:
        is_read = self._is_read(queue) or now < read.held_until
        if not (is_read or read.pending):
            del self._reads[queue]
            return
        number = read.number
        partition = self._engine.partition(QUEUES, number)
        if partition is None or not partition.ready or not isinstance(partition.fold, Deliver):
            ttl_ms, pause = None, RETRY_SECONDS
        else:
            ttl_ms, pause = partition.fold.ttl_ms(queue), LOOK_SECONDS
        if ttl_ms is not None:
            read.pending = False
            self._touch(number, queue)
            pause = max(ttl_ms / 1000 / PER_TTL, SHORTEST_SECONDS)
        elif not is_read:
            del self._reads[queue]
            return
        self._plan(queue, read, now + pause)

    def _touch(self, number: int, queue: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._append(number, queue))
        touches = self._touches.setdefault(number, set())
        touches.add(task)
        task.add_done_callback(touches.discard)
        task.add_done_callback(_seen)

    async def _append(self, number: int, queue: bytes) -> None:
        value = encode(Touch(queue.decode(), "", at=time.time_ns() // 1_000_000))
        try:
            await self._engine.publisher.publish(self._topic, queue, value, "Touch")
        except StreamsError as error:
            logger.debug("cannot note that queue %s is read, trying again: %s", queue, error)
            read = self._reads.get(queue) or self._new(queue)
            read.pending = True
            self._plan(queue, read, time.monotonic() + RETRY_SECONDS)
            self._failed.setdefault(number, set()).add(queue)
            raise

    async def _hold(self, fold: Deliver, end: float) -> None:
        """Treat the queues that end before `end` as read until then."""
        before = int((time.time() + end - time.monotonic()) * 1000)
        after: bytes | None = None
        while True:
            queues, after = fold.unused(before, after, SCANNED_AT_ONCE)
            for queue in queues:
                read = self._reads.get(queue) or self._new(queue)
                read.held_until = end
                self._plan(queue, read, time.monotonic())
            if after is None:
                return
            await asyncio.sleep(0)


def _seen(task: asyncio.Task[None]) -> None:
    """Retrieve the exception of a Touch: it was logged, and will be repeated."""
    if not task.cancelled():
        task.exception()
