"""Workers that exit: killed at each checkpoint step, stopped, restarted, added, removed."""

from __future__ import annotations

import asyncio
import shutil
import signal

from streams.folds.tables import MEMBERS, QUEUES
from streams.lab.faults.catalogue import FAULTS, Act, Fault, fault
from streams.lab.faults.harness import SESSION_SECONDS, FaultHarness

FOR_THREE = {"STREAMS_PARTITIONS": "6"}
"""Enough partitions that Faust's sticky assignor gives a third worker some."""

STEPS = ("outputs", "changelog", "marker", "database", "commit")
"""The steps of a checkpoint in which a worker is made to fail; see `streams.lab.faults.worker`."""


def _kill_at(step: str) -> Act:
    async def act(harness: FaultHarness) -> None:
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
        f"a worker is killed as a checkpoint begins '{_step}', once per table",
        _kill_at(_step),
        short=_step == "database",
    )


@fault("terminate", "a worker gets SIGTERM and starts again")
async def terminate(harness: FaultHarness) -> None:
    """One clean stop."""
    worker = harness.workers[1]
    harness.touch(worker)
    await harness.end(worker, signal.SIGTERM)
    await asyncio.sleep(1)
    harness.begin(worker)
    await harness.until_ready(0.5)
    harness.expect(worker.exit_codes[-1] == 0, f"SIGTERM ended it with {harness.say_ends(worker)}")


@fault("rolling-restart", "all workers restart, one after the other, twice")
async def rolling_restart(harness: FaultHarness) -> None:
    """As in a deployment."""
    for worker in harness.workers * 2:
        await harness.end(worker, signal.SIGTERM)
        harness.begin(worker)
        await harness.until_ready(0.5)


@fault("kill-all", "all workers are killed at once", settings={"STREAMS_STANDBYS": "0"})
async def kill_all(harness: FaultHarness) -> None:
    """Like a power failure of all workers, but not of the broker."""
    for worker in harness.workers:
        worker.signal(signal.SIGKILL)
    await harness.until_ready(1.0)


@fault(
    "kill-cold",
    "a worker without standbys is killed and loses its data folder",
    settings={"STREAMS_STANDBYS": "0"},
)
async def kill_cold(harness: FaultHarness) -> None:
    """Like a lost machine and its replacement."""
    worker = harness.workers[0]
    harness.touch(worker)
    await harness.end(worker)
    shutil.rmtree(worker.folder)
    harness.begin(worker)
    await harness.until_ready(0.5)


@fault("kill-standby", "a worker is killed and stays away until its standbys have taken over")
async def kill_standby(harness: FaultHarness) -> None:
    """Promotion of standbys, and back."""
    worker = harness.workers[1]
    harness.touch(worker)
    await harness.end(worker)
    await harness.until_ready(0.0)
    await asyncio.sleep(2)
    harness.begin(worker)
    await harness.until_ready(0.5)


@fault("join-leave", "a third worker joins and leaves again", settings=FOR_THREE)
async def join_leave(harness: FaultHarness) -> None:
    """Partitions move to the new worker and back."""
    worker = harness.add_worker()
    await harness.until(
        lambda: worker.url in harness.monitor.owners().values(), 60, "it gets no partition"
    )
    await harness.until_ready(0.5)
    await asyncio.sleep(2)
    await harness.remove_worker(worker)
    await harness.until_ready(0.5)


def _taken_over(harness: FaultHarness, url: str) -> bool:
    others = [worker.url for worker in harness.running if worker.url != url]
    return harness.monitor.is_ready(others)


def _stop_at(step: str) -> Act:
    async def act(harness: FaultHarness) -> None:
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
        f"a worker is stopped in '{_step}', resumes after the other has taken over",
        _stop_at(_step),
        short=_step == "marker",
    )


@fault("pause", "a worker is suspended for less than its session timeout")
async def pause(harness: FaultHarness) -> None:
    """A pause of the machine: no other worker takes over."""
    worker = harness.workers[0]
    harness.touch(worker)
    worker.signal(signal.SIGSTOP)
    await asyncio.sleep(SESSION_SECONDS / 2)
    worker.signal(signal.SIGCONT)
    await harness.until_ready(0.5)


@fault("killed-before-reply", "a worker is killed after Kafka has an event and before the reply")
async def killed_before_reply(harness: FaultHarness) -> None:
    """The client must repeat, and nothing may be duplicated."""
    for topic in (harness.settings.group_events, harness.settings.queue_events):
        for worker in harness.workers:
            worker.set_trap(topic, "reply", "kill")
            await harness.until_sprung(worker)
            await harness.until_ready(1.0)
