"""Workers that exit: killed at each checkpoint step, stopped, restarted, added, removed."""

from __future__ import annotations

import asyncio
import shutil
import signal

from streams.folds.tables import MEMBERS, QUEUES
from streams.lab.faults.catalogue import FAULTS, Act, Fault, fault
from streams.lab.faults.harness import SESSION_SECONDS, Harness

FOR_THREE = {"STREAMS_PARTITIONS": "6"}
"""Enough partitions that Faust's sticky assignor gives a third worker some."""

STEPS = ("outputs", "changelog", "marker", "database", "commit")
"""The steps of a checkpoint in which a worker is made to fail; see `streams.lab.faults.worker`."""


def _kill_at(step: str) -> Act:
    async def act(harness: Harness) -> None:
        worker = harness.workers[0]
        for table in (MEMBERS, QUEUES):
            harness.touch(worker)
            worker.set_trap(f"{table}/*", step, "kill")
            await harness.until_sprung(worker)
            await harness.until_ready(1.0)
            harness.expect(worker.exit_codes[-1:] == [-9], "it was not killed")

    return act


for _step in STEPS:
    FAULTS[f"kill-at-{_step}"] = Fault(
        f"kill-at-{_step}",
        f"worker SIGKILL as a checkpoint begins '{_step}', once per table",
        _kill_at(_step),
        short=_step == "database",
    )


@fault("terminate", "worker SIGTERM, started again")
async def terminate(harness: Harness) -> None:
    """One clean stop."""
    worker = harness.workers[1]
    harness.touch(worker)
    await harness.end(worker, signal.SIGTERM)
    await asyncio.sleep(1)
    harness.begin(worker)
    await harness.until_ready(0.5)
    harness.expect(worker.exit_codes[-1] == 0, f"SIGTERM ended it with {harness.say_ends(worker)}")


@fault("rolling-restart", "all workers restarted one after the other, twice")
async def rolling_restart(harness: Harness) -> None:
    """As in a deployment."""
    for worker in harness.workers * 2:
        await harness.end(worker, signal.SIGTERM)
        harness.begin(worker)
        await harness.until_ready(0.5)


@fault("kill-all", "all workers SIGKILLed at once", settings={"STREAMS_STANDBYS": "0"})
async def kill_all(harness: Harness) -> None:
    """Like a power failure of all workers, but not of the broker."""
    for worker in harness.workers:
        worker.signal(signal.SIGKILL)
    await harness.until_ready(1.0)


@fault(
    "kill-cold",
    "worker killed, its data folder lost, no standbys",
    settings={"STREAMS_STANDBYS": "0"},
)
async def kill_cold(harness: Harness) -> None:
    """Like a lost machine and its replacement."""
    worker = harness.workers[0]
    harness.touch(worker)
    await harness.end(worker)
    shutil.rmtree(worker.folder)
    harness.begin(worker)
    await harness.until_ready(0.5)


@fault("kill-standby", "worker killed for good for a while: its standbys take over")
async def kill_standby(harness: Harness) -> None:
    """Promotion of standbys, and back."""
    worker = harness.workers[1]
    harness.touch(worker)
    await harness.end(worker)
    await harness.until_ready(0.0)
    await asyncio.sleep(2)
    harness.begin(worker)
    await harness.until_ready(0.5)


@fault("join-leave", "another worker joins, later leaves", settings=FOR_THREE)
async def join_leave(harness: Harness) -> None:
    """Partitions move to the new worker and back."""
    worker = harness.add_worker()
    await harness.until(
        lambda: worker.url in harness.monitor.owners().values(), 60, "it gets no partition"
    )
    await harness.until_ready(0.5)
    await asyncio.sleep(2)
    await harness.remove_worker(worker)
    await harness.until_ready(0.5)


def _taken_over(harness: Harness, url: str) -> bool:
    others = [worker.url for worker in harness.running if worker.url != url]
    return harness.monitor.is_ready(others)


def _stop_at(step: str) -> Act:
    async def act(harness: Harness) -> None:
        worker = harness.workers[0]
        harness.touch(worker)
        worker.set_trap("*/*", step, "stop")
        await harness.until_sprung(worker)
        took = await harness.until(
            lambda: _taken_over(harness, worker.url), 60, "the others do not take over"
        )
        harness.notes.append(f"taken over in {took:.1f} s")
        await asyncio.sleep(2)
        worker.signal(signal.SIGCONT)
        await harness.until_ready(1.0)

    return act


for _step in STEPS:
    FAULTS[f"zombie-at-{_step}"] = Fault(
        f"zombie-at-{_step}",
        f"SIGSTOP in '{_step}', the other worker takes over, SIGCONT",
        _stop_at(_step),
        short=_step == "marker",
    )


@fault("pause", "worker SIGSTOPped for less than its session timeout")
async def pause(harness: Harness) -> None:
    """A pause of the machine: no other worker takes over."""
    worker = harness.workers[0]
    harness.touch(worker)
    worker.signal(signal.SIGSTOP)
    await asyncio.sleep(SESSION_SECONDS / 2)
    worker.signal(signal.SIGCONT)
    await harness.until_ready(0.5)


@fault("killed-before-reply", "gateway killed after Kafka has an event, before its reply")
async def killed_before_reply(harness: Harness) -> None:
    """The client must repeat, and nothing may be duplicated."""
    for topic in (harness.settings.group_events, harness.settings.queue_events):
        for worker in harness.workers:
            worker.set_trap(topic, "reply", "kill")
            await harness.until_sprung(worker)
            await harness.until_ready(1.0)
