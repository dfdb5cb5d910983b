"""Tables in a rebalance: Faust's table manager with the engine's recovery.

Faust recovers all partitions together, record by record, before any of them continues.  Here
each partition recovers by itself (`streams.engine.partition`): a partition that did not move
continues undisturbed, and one that moved does not delay the others.
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
    """Passes each assignment to the engine and resumes the flow of records.

    Replaces the tasks of Faust's class that read changelogs, and keeps what other parts of
    Faust use (`completed`, `in_recovery`).
    """

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Signal a new assignment to `_restart_recovery`."""
        self._generation_id = generation_id
        self.signal_recovery_start.set()

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Do nothing: the engine's partitions continue until the next assignment."""

    @Service.task
    async def _restart_recovery(self) -> None:
        app = cast(Any, self.app)
        while not self.should_stop:
            if await self.wait_for_stopped(cast(Any, self.signal_recovery_start)):
                break
            self.signal_recovery_start.clear()
            generation = self._generation_id
            changelogs = self.tables._changelogs
            actives = {
                (changelogs[tp.topic].name, tp.partition)
                for tp in app.assignor.assigned_actives()
                if tp.topic in changelogs
            }
            standbys = {
                (changelogs[tp.topic].name, tp.partition)
                for tp in app.assignor.assigned_standbys()
                if tp.topic in changelogs
            }
            await app.engine.assign(actives, standbys, generation)
            if app.consumer_generation_id != generation or self.should_stop:
                continue  # another rebalance has begun
            await self._resume()
            logger.info(
                "rebalance done: generation %d, %d active, %d standby",
                generation,
                len(actives),
                len(standbys),
            )

    async def _resume(self) -> None:
        app = cast(Any, self.app)
        consumer = app.consumer
        await app.on_rebalance_complete.send()
        stock = consumer.assignment() - consumer.engine_partitions(consumer.assignment())
        if stock:
            consumer.resume_partitions(stock)
            try:
                await asyncio.wait_for(consumer.perform_seek(), timeout=30.0)
            except Exception as exc:
                logger.warning(
                    "cannot seek topics of stock agents to their committed offsets; "
                    "the next rebalance tries again: %r",
                    exc,
                )
        self.completed.set()
        app.flow_control.resume()
        consumer.resume_flow()
        app.engine.reread()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Do nothing: the engine reads changelogs."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Do nothing: the engine reports its progress."""

    async def on_stop(self) -> None:
        """Checkpoint and close all partitions while this worker is still in the group."""
        await cast(Any, self.app).engine.close_partitions()


class TableManager(FaustTableManager):
    """Faust's table manager with the `Recovery` of this module."""

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
