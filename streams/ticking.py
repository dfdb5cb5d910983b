"""The clock of the queues: appends a Tick to a partition's log when a timer in it is due.

Folds read no clock.  The worker that owns a partition of `queues` compares the wall clock with
the partition's next timer and appends a Tick; the fold then uses the timestamp that the broker
gave the Tick.  A superfluous Tick does nothing, so two workers may append one at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from streams.engine.engine import Engine
from streams.engine.partition import Partition
from streams.errors import StreamsError
from streams.events.codec import encode
from streams.events.records import Tick
from streams.folds.deliver import Deliver
from streams.folds.tables import QUEUES
from streams.kafka.partitioner import own_key
from streams.keep_alive import KeepAlive
from streams.repeats import REPEATING
from streams.settings import Settings

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.05
"""Time between two looks at the timers of all partitions."""
FOLD_SECONDS: Final = 5.0
"""How long to wait for a Tick to be folded before appending another."""
IDLE_SECONDS: Final = 0.5
"""Pause after a Tick that did nothing, because the broker's clock is behind this worker's."""


class Ticking:
    """Appends Ticks for all partitions of one worker, one at a time for each partition."""

    def __init__(self, engine: Engine, settings: Settings, keep_alive: KeepAlive) -> None:
        self._engine = engine
        self._keep_alive = keep_alive
        self._topic = settings.queue_events
        self._partitions = settings.partitions
        self._ticks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Append Ticks when they are due, until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._engine.pause(LOOK_SECONDS))
                self._keep_alive.look()
                self._look(time.time_ns() // 1_000_000)
        finally:
            self._keep_alive.close()
            for task in self._ticks.values():
                task.cancel()

    def _look(self, now: int) -> None:
        for partition in self._engine.ready_partitions(QUEUES):
            self._keep_alive.opened(partition)
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
            key = own_key("tick", number, self._partitions)
            while fold.next_due is not None and fold.next_due <= now and partition.ready:
                await self._keep_alive.before_tick(partition, fold)
                served = fold.served
                value = encode(Tick(now))
                _, offset = await self._engine.publisher.publish(self._topic, key, value, "Tick")
                if not await partition.reached(offset, FOLD_SECONDS):
                    break
                if fold.served == served:
                    await asyncio.sleep(IDLE_SECONDS)
                    break
        except StreamsError as error:
            logger.info(
                "queues/%d: cannot append a Tick, trying again: %s",
                number,
                error,
                extra=REPEATING,
            )
            await asyncio.sleep(self._engine.pause(IDLE_SECONDS))
        finally:
            del self._ticks[number]
