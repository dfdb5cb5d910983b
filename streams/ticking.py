"""Makes time pass for the queues of this worker: appends a Tick when something is due.

The folds read no clock.  Whoever owns a partition of `queues` looks at the wall clock for
it, and appends a Tick to its log; the fold then goes by the time that the broker gives the
Tick.  One too many does nothing, so nobody has to be sure of being the only owner.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import cache
from itertools import count
from typing import Final

from streams.engine.engine import Engine
from streams.engine.partition import Partition
from streams.errors import StreamsError
from streams.events.codec import encode
from streams.events.records import Tick
from streams.folds.deliver import Deliver
from streams.folds.tables import QUEUES
from streams.kafka.partitioner import partition_of
from streams.settings import Settings

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.05
FOLD_SECONDS: Final = 5.0
"""How long a Tick may take to be folded before another is appended."""
IDLE_SECONDS: Final = 0.5
"""Pause after a Tick that did nothing: the broker's clock is behind this worker's."""


class Ticking:
    """Looks after all partitions of one worker, one Tick of each at a time."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._topic = settings.queue_events
        self._partitions = settings.partitions
        self._ticks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Append Ticks as they are due, for ever."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                self._look(time.time_ns() // 1_000_000)
        finally:
            for task in self._ticks.values():
                task.cancel()

    def _look(self, now: int) -> None:
        for partition in self._engine.ready_partitions(QUEUES):
            number, fold = partition.number, partition.fold
            if number in self._ticks or not isinstance(fold, Deliver):
                continue
            due = fold.next_due
            if due is not None and due <= now:
                task = asyncio.get_running_loop().create_task(self._tick(partition, fold, now))
                self._ticks[number] = task

    async def _tick(self, partition: Partition, fold: Deliver, now: int) -> None:
        number = partition.number
        try:
            key = tick_key(number, self._partitions)
            while fold.next_due is not None and fold.next_due <= now and partition.ready:
                served = fold.served
                value = encode(Tick(now))
                _, offset = await self._engine.publisher.publish(self._topic, key, value, "Tick")
                if not await partition.reached(offset, FOLD_SECONDS):
                    break
                if fold.served == served:
                    await asyncio.sleep(IDLE_SECONDS)
                    break
        except StreamsError as error:
            logger.info("partition %d waits for a Tick: %s", number, error)
            await asyncio.sleep(IDLE_SECONDS)
        finally:
            del self._ticks[number]


@cache
def tick_key(partition: int, partitions: int) -> bytes:
    """Return a key that belongs to a partition."""
    return next(
        key
        for key in (b"tick-%d" % number for number in count())
        if partition_of(key, partitions) == partition
    )
