"""How a partition shares the event loop with everything else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from streams.engine import schedule
from streams.engine.schedule import (
    LATE_SECONDS,
    SLICE_SECONDS,
    TURN_SECONDS,
    WORK_PAUSE_SECONDS,
    TimeSlice,
    WorkSchedule,
)

SHORTEST, LONGEST = WORK_PAUSE_SECONDS


def run(work: WorkSchedule, slices: int, late: float) -> None:
    """Run slices of work, each of them late by so many seconds."""
    for _ in range(slices):
        now = work.due + late
        work.begin(now)
        work.end(now)


def test_work_may_run_at_once_and_then_pauses() -> None:
    work = WorkSchedule()
    assert work.due == 0.0
    work.begin(100.0)
    work.end(100.5)
    assert 100.5 + SHORTEST <= work.due <= 100.5 + LONGEST


def test_pauses_grow_while_the_event_loop_is_late_and_shrink_again() -> None:
    # Given a loop that does not keep up, Then pauses grow to the longest
    work = WorkSchedule()
    run(work, 20, late=2 * LATE_SECONDS)
    assert work.pause == LONGEST
    # When it keeps up again, Then they shrink to the shortest, step by step
    run(work, 1, late=0.0)
    assert SHORTEST < work.pause < LONGEST
    run(work, 20, late=0.0)
    assert work.pause == SHORTEST


async def test_a_task_yields_when_its_slice_is_over_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given another task that wants to run, and a slice that has just begun
    now = 100.0
    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: now))
    ran: list[float] = []

    async def other() -> None:
        ran.append(now)

    task = asyncio.create_task(other())
    time_slice = TimeSlice()
    time_slice.begin()
    # When it is not over, Then nothing else runs
    now += SLICE_SECONDS[1]
    await time_slice.share()
    assert not ran
    # When it is over, Then others run, and the next begins
    now += 0.001
    await time_slice.share()
    assert ran == [now]
    await task


async def test_slices_are_short_while_others_need_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, turn = 100.0, 0.0

    async def others(_seconds: float) -> None:
        nonlocal now
        now += turn

    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(schedule, "asyncio", SimpleNamespace(sleep=others))
    shortest, longest = SLICE_SECONDS
    time_slice = TimeSlice()
    time_slice.begin()

    async def use_up() -> None:
        nonlocal now
        now += longest + 0.001
        await time_slice.share()

    # Given others that need little time, Then slices are long
    turn = TURN_SECONDS / 2
    await use_up()
    assert time_slice.seconds == longest
    # When they need much, Then slices get shorter, and longer again after that
    turn = TURN_SECONDS * 2
    for _ in range(10):
        await use_up()
    assert time_slice.seconds == shortest
    turn = 0.0
    for _ in range(10):
        await use_up()
    assert time_slice.seconds == longest
