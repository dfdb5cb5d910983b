"""What happens to tables in a rebalance: Faust's table manager, with the engine's recovery.

Faust recovers all partitions together, record by record, before any of them goes on.  Here
each partition recovers by itself (`streams.engine.partition`), so one that did not move is
not disturbed, and one that moved delays no other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP
from mode import Service

logger = logging.getLogger(__name__)


class Recovery(FaustRecovery):
    """Hands each assignment to the engine and lets the flow go on.

    The tasks of Faust's class that read changelogs are replaced; what other parts of Faust
    ask of it (`completed`, `in_recovery`) is kept.
    """

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Take note of a new assignment; `_restart_recovery` acts on it."""
        self._generation_id = generation_id
        self.signal_recovery_start.set()

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Nothing to flush: the engine's partitions go on until they are told otherwise."""

    @Service.task
    async def _restart_recovery(self) -> None:
        app = cast(Any, self.app)
        while not self.should_stop:
            if await self.wait_for_stopped(cast(Any, self.signal_recovery_start)):
                break
            self.signal_recovery_start.clear()
            generation = self._generation_id
            changelogs = self.tables._changelogs
            await app.engine.assign(
                actives={
                    (changelogs[tp.topic].name, tp.partition)
                    for tp in app.assignor.assigned_actives()
                    if tp.topic in changelogs
                },
                standbys={
                    (changelogs[tp.topic].name, tp.partition)
                    for tp in app.assignor.assigned_standbys()
                    if tp.topic in changelogs
                },
                generation=generation,
            )
            if app.consumer_generation_id != generation or self.should_stop:
                continue  # another rebalance has begun
            await self._resume(generation)

    async def _resume(self, generation: int) -> None:
        app = cast(Any, self.app)
        consumer = app.consumer
        await app.on_rebalance_complete.send()
        stock = consumer.assignment() - consumer.engine_partitions(consumer.assignment())
        if stock:
            consumer.resume_partitions(stock)
            try:
                await asyncio.wait_for(consumer.perform_seek(), timeout=30.0)
            except Exception as exc:  # the broker is away: the next rebalance seeks again
                logger.warning("stock topics: cannot seek to committed offsets: %r", exc)
        self.completed.set()
        app.flow_control.resume()
        consumer.resume_flow()
        app.engine.reread()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()
        logger.info("generation %d: assignment taken over", generation)

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """The engine reads changelogs itself."""

    @Service.task
    async def _publish_stats(self) -> None:
        """The engine tells its progress itself."""

    async def on_stop(self) -> None:
        """Checkpoint and close all partitions, while the group still counts this member."""
        await cast(Any, self.app).engine.close_partitions()


class TableManager(FaustTableManager):
    """Faust's table manager with `Recovery` of this module."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast(Recovery, self._recovery)

    async def on_start(self) -> None:
        """Register the tables; unlike stock Faust, without a second of sleep first."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
