"""Who is stuck, and who only has nothing to do, waits for Kafka, or was itself stopped."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine.opening import Opening
from streams.engine.progress import Progress, State
from streams.engine.watchdog import EXIT_CODE, Duty, PartitionWatch, Patience


def look_for(seconds: int, patience: Patience, duty: Duty, possible: bool = True) -> str | None:
    for now in range(0, seconds + 1, 2):
        verdict = patience.look(float(now), {"members/0": duty}, possible)
        if verdict is not None:
            return verdict
    return None


def test_who_owes_something_and_does_not_move_is_stuck() -> None:
    verdict = look_for(60, Patience(30.0, 2.0), Duty(True, 7, "5 records behind"))
    assert verdict == "members/0 has made no progress for 30 s: 5 records behind"


def test_who_owes_nothing_may_stand_still() -> None:
    assert look_for(600, Patience(30.0, 2.0), Duty(False, 7, "")) is None


def test_who_moves_is_not_stuck() -> None:
    patience = Patience(30.0, 2.0)
    for now in range(0, 600, 2):
        assert patience.look(float(now), {"a": Duty(True, now // 20, "")}, True) is None


def test_nobody_is_stuck_while_kafka_is_away() -> None:
    assert look_for(600, Patience(30.0, 2.0), Duty(True, 7, ""), possible=False) is None


def test_time_in_which_the_process_was_stopped_does_not_count() -> None:
    # Given a duty that has waited for a moment
    patience, duty = Patience(30.0, 2.0), Duty(True, 7, "")
    for now in (0.0, 2.0, 4.0):
        patience.look(now, {"a": duty}, True)

    # When the process is stopped for an hour, Then it has waited a moment more, not an hour
    assert patience.look(3_600.0, {"a": duty}, True) is None
    assert patience.waited["a"] <= 8.0


def test_what_is_gone_is_forgotten() -> None:
    patience = Patience(30.0, 2.0)
    for now in range(0, 28, 2):
        patience.look(float(now), {"a": Duty(True, 1, "")}, True)
    patience.look(28.0, {}, True)
    assert patience.look(30.0, {"a": Duty(True, 1, "")}, True) is None


@dataclass
class FakePartition:
    """The part of a `Partition` and of its `Progress` that is watched."""

    state: State = State.READY
    position: int = 10
    checkpointed: int = 10
    restored_to: int = 4
    readable_end: int = 10
    hold: object = None
    failures: int = 0
    unfinished: tuple[int, int] = (0, 0)
    saving: bool = False
    queued: bool = False
    waits: str | None = None
    spec: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name="members/0"))

    @property
    def progress(self) -> FakePartition:
        return self


def duties(watch: PartitionWatch, partition: FakePartition, restored: int = 0) -> tuple[Duty, Duty]:
    """What it owes: folding, and a checkpoint."""
    both = watch.duties(partition, restored)  # type: ignore[arg-type]
    assert list(both) == ["folding of members/0", "checkpoint of members/0"]
    folding, saving = both.values()
    return folding, saving


def test_a_partition_owes_until_it_is_ready_and_everything_is_saved() -> None:
    def owes(partition: FakePartition) -> tuple[bool, bool]:
        folding, saving = duties(PartitionWatch(), partition)
        return folding.pending, saving.pending

    assert owes(FakePartition()) == (False, False)
    assert owes(FakePartition(state=State.OPENING)) == (True, False)
    assert owes(FakePartition(readable_end=11)) == (True, False)
    assert owes(FakePartition(state=State.RESTORING)) == (True, False)
    assert owes(FakePartition(state=State.RESTORING, hold="a transaction")) == (False, False)
    assert owes(FakePartition(readable_end=11, waits="for a registry")) == (False, False)
    assert owes(FakePartition(checkpointed=9)) == (False, False)  # not due yet
    assert owes(FakePartition(checkpointed=9, saving=True)) == (False, True)


def test_folding_on_is_no_excuse_for_a_checkpoint_that_hangs() -> None:
    watch = PartitionWatch()
    marks = {
        duties(watch, FakePartition(position=position, saving=True))[1].mark
        for position in range(10, 20)
    }
    assert len(marks) == 1


def test_a_long_chunk_is_progress() -> None:
    watch = PartitionWatch()
    first, _ = duties(watch, FakePartition(readable_end=11, unfinished=(1, 0)))
    second, _ = duties(watch, FakePartition(readable_end=11, unfinished=(2, 0)))
    assert first.mark != second.mark


@pytest.mark.parametrize("queued", [False, True])
def test_waiting_for_its_turn_it_goes_forward_as_the_others_do(queued: bool) -> None:
    watch = PartitionWatch()
    partition = FakePartition(state=State.OPENING, queued=queued)
    first, _ = duties(watch, partition, restored=1)
    second, _ = duties(watch, partition, restored=2)
    assert (first.mark != second.mark) == queued


def test_failing_at_the_same_place_again_and_again_is_no_progress() -> None:
    # Given a partition that has come to a place where it fails
    watch = PartitionWatch()
    duties(watch, FakePartition(readable_end=20))
    first = duties(watch, FakePartition(readable_end=20, failures=1, unfinished=(3, 1)))

    # When it is opened afresh, restored, and gets to that place again
    for failures in range(1, 5):
        for state, position, sent in (
            (State.OPENING, 0, 0),
            (State.RESTORING, 0, 0),
            (State.CATCHING_UP, 8, 2),
            (State.READY, 10, 3),
        ):
            partition = FakePartition(
                state=state,
                position=position,
                readable_end=20,
                failures=failures,
                unfinished=(sent, 0),
            )
            # Then nothing of that counts
            again = duties(watch, partition)
            assert [duty.mark for duty in again] == [duty.mark for duty in first]


GUARDED = """
import asyncio, time
from streams.engine.watchdog import LoopGuard

async def main():
    LoopGuard.TICK_SECONDS = 0.1
    guard = LoopGuard(asyncio.get_running_loop(), 3.0)
    guard.start()
    await asyncio.sleep(1)
    print("alive", flush=True)
    {then}

asyncio.run(main())
"""


def run(then: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", GUARDED.format(then=then)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_a_process_whose_event_loop_hangs_is_ended_with_its_stacks() -> None:
    ended = run("time.sleep(30)")
    assert (ended.returncode, ended.stdout) == (EXIT_CODE, "alive\n")
    assert "event loop has stood still" in ended.stderr
    assert "time.sleep" in ended.stderr or "in main" in ended.stderr


def test_a_process_whose_event_loop_goes_on_lives() -> None:
    assert run("await asyncio.sleep(1); guard.stop()").returncode == 0


def test_what_does_not_end_by_itself_is_ended() -> None:
    ended = run("guard.end_within(0.3); await asyncio.sleep(30)")
    assert ended.returncode == EXIT_CODE
    assert "does not shut down" in ended.stderr


async def test_every_step_of_opening_waits_for_its_turn() -> None:
    # Given a worker whose only thread for restores is busy
    pool = ThreadPoolExecutor(1)
    free = threading.Event()
    pool.submit(free.wait)
    progress = Progress()

    async def restoring(call: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, call)

    context: Any = SimpleNamespace(restoring=restoring)
    spec: Any = None
    opening = Opening(context, spec, progress, lambda: False, lambda: False, lambda: None)
    seen: list[bool] = []
    # When a partition is to be opened, Then it is queued until the thread is its own
    step = asyncio.create_task(opening.in_turn(lambda: seen.append(progress.queued)))
    await asyncio.sleep(0)
    assert progress.queued
    free.set()
    await step
    assert seen == [False]
    pool.shutdown()
