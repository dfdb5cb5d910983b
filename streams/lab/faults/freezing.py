"""A machine that is suspended: everything on it stands still, and the clocks have jumped after it.

Also parts of it by turns, at every step of a checkpoint, during a restore, and for longer than
Kafka lets a transaction stay open.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Sequence

from streams.lab.faults.catalogue import fault
from streams.lab.faults.harness import SESSION_SECONDS, FaultHarness, FaultWorker
from streams.lab.faults.killing import STEPS

LONG = SESSION_SECONDS + 2
"""Long enough that the group gives up a worker."""
TRANSACTION_SECONDS = 60.0
"""After this, Kafka aborts a transaction; see `streams.engine.changelog`."""


async def _suspend(
    harness: FaultHarness,
    seconds: float,
    *,
    workers: Sequence[FaultWorker] = (),
    broker: bool = False,
    load: bool = False,
) -> None:
    """Stop these for some seconds; with `load`, the clients of this process stand still, too."""
    nodes = harness.brokers.kafka.nodes if broker else []
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    for node in nodes:
        node.signal(signal.SIGSTOP)
    try:
        if load:
            time.sleep(seconds)  # noqa: ASYNC251 - it is to block the event loop
        else:
            await asyncio.sleep(seconds)
    finally:
        for node in nodes:
            node.signal(signal.SIGCONT)
        for worker in workers:
            worker.signal(signal.SIGCONT)


async def _suspend_all(harness: FaultHarness, seconds: float) -> None:
    await _suspend(harness, seconds, workers=harness.workers, broker=True, load=True)


@fault("suspended", "the whole machine is suspended under load, for 5, 20 and 40 s")
async def suspended(harness: FaultHarness) -> None:
    """Everything stops at once, so that every timeout has passed when everything goes on."""
    for seconds in (5, 20, 40):
        await _suspend_all(harness, seconds)
        await harness.until_ready(0.5)
        await asyncio.sleep(2)


@fault(
    "suspended-by-turns",
    "broker, workers and clients are stopped in turn, past all timeouts",
)
async def suspended_by_turns(harness: FaultHarness) -> None:
    """Each of them finds the others to have moved on, or to have stood still."""
    workers = harness.workers
    await _suspend(harness, LONG, workers=workers)
    await harness.until_ready(0.5)
    await _suspend(harness, LONG, load=True)
    await harness.until_ready(0.5)
    await _suspend(harness, LONG, broker=True, workers=workers)
    await harness.until_ready(0.5)
    await _suspend(harness, LONG, broker=True, workers=workers[:1])
    await harness.until_ready(0.5)


@fault("suspended-checkpoint", "the whole machine is suspended at each step of a checkpoint")
async def suspended_checkpoint(harness: FaultHarness) -> None:
    """Outputs, changelog and database are then of different times."""
    worker = harness.workers[0]
    for step in STEPS:
        worker.set_trap("*/*", step, "stop")
        await harness.until_sprung(worker)
        await _suspend_all(harness, LONG)
        await harness.until_ready(0.5)


@fault(
    "suspended-transaction",
    "the only worker is stopped in a transaction until Kafka has aborted it",
    workers=1,
    mix=False,
)
async def suspended_transaction(harness: FaultHarness) -> None:
    """Its producer is fenced although nobody has taken over."""
    worker = harness.workers[0]
    worker.set_trap("*/*", "marker", "stop")
    await harness.until_sprung(worker)
    await _suspend(harness, TRANSACTION_SECONDS + 5, workers=[worker])
    await harness.until_ready(0.5)


@fault(
    "suspended-restore",
    "all data folders are lost; the machine is suspended while workers recover",
    settings={"STREAMS_STANDBYS": "0"},
    mix=False,
)
async def suspended_restore(harness: FaultHarness) -> None:
    """A recovery goes on where it was, or begins again."""
    for moment in (0.5, 2.0, 4.0):
        for worker in harness.workers:
            await harness.end(worker)
            shutil.rmtree(worker.folder)
        for worker in harness.workers:
            harness.begin(worker)
        await asyncio.sleep(moment)
        await _suspend_all(harness, LONG)
        await harness.until_ready(0.5)
