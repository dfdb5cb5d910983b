"""What can be read of a partition: its lag, how much is restored, and waits for offsets."""

from __future__ import annotations

import asyncio
import time

import pytest

from streams.engine.progress import PositionWaiters, Progress, State


def test_a_partition_without_records_to_fold_has_no_lag() -> None:
    assert Progress(position=7, folded_to_ms=1).lag_seconds(7) == 0.0


def test_lag_is_the_age_of_the_last_record_or_of_the_last_time_without_a_lag() -> None:
    # Given a record folded that is an hour old
    progress = Progress(position=7, folded_to_ms=int((time.time() - 3_600) * 1_000))
    assert progress.lag_seconds(9) == pytest.approx(3_600, abs=60)
    # When nothing waited a minute ago, Then what waits now is younger than that
    progress.caught_up_at = time.monotonic() - 60
    assert progress.lag_seconds(9) == pytest.approx(60, abs=30)


@pytest.mark.parametrize(
    ("state", "to", "end", "restored"),
    [
        (State.OPENING, 5, 10, 0.0),
        (State.RESTORING, 0, 0, 0.0),
        (State.RESTORING, 5, 10, 0.5),
        (State.RESTORING, 12, 10, 1.0),
        (State.CATCHING_UP, 0, 0, 1.0),
        (State.READY, 5, 10, 1.0),
        (State.FAILED, 5, 10, 0.0),
    ],
)
def test_the_part_of_the_changelog_that_is_restored(
    state: State, to: int, end: int, restored: float
) -> None:
    assert Progress(state=state, restored_to=to, restore_end=end).restored == restored


async def test_waiters_are_woken_when_their_offset_is_folded() -> None:
    # Given coroutines that wait for offsets 4 and 5
    waiters = PositionWaiters(asyncio.get_running_loop())
    four = asyncio.create_task(waiters.wait(4, 60.0))
    five = asyncio.create_task(waiters.wait(5, 60.0))
    await asyncio.sleep(0)
    # When everything below 5 is folded, Then the first goes on
    waiters.wake(5)
    await four
    assert not five.done()
    # When the partition is lost, Then nobody waits any more
    waiters.wake_all()
    await five


async def test_a_wait_ends_in_time() -> None:
    waiters = PositionWaiters(asyncio.get_running_loop())
    await asyncio.wait_for(waiters.wait(4, 0.01), 60.0)
    waiters.wake(5)  # nobody is left
