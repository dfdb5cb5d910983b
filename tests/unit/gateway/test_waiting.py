"""Long polls, reads between two chunks, and row counts in slices."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from streams.engine.testing import MemoryRows
from streams.errors import Unavailable
from streams.gateway.ports import Partition
from streams.gateway.reads import row_counter
from streams.gateway.reads.barrier import Barrier
from streams.gateway.reads.long_polls import LongPolls
from streams.gateway.reads.row_counter import RowCounter
from streams.gateway.waiters import WAKE_AT_ONCE


@dataclass
class Place:
    """The attributes of a partition that waiting uses."""

    position: int = 0
    folding: bool = False
    rows: MemoryRows = field(default_factory=MemoryRows)


def place(**values: Any) -> Partition:
    return cast(Partition, Place(**values))


async def begun(*waits: Any) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.sleep(0)
    return tasks


async def test_a_delivery_wakes_only_the_waiters_of_its_queue() -> None:
    # Given two waiters of one queue, and one of another
    waits, here = LongPolls(), place()
    first, second, other = await begun(
        waits.wait(b"a", here, 600), waits.wait(b"a", here, 600), waits.wait(b"b", here, 600)
    )
    assert len(waits) == 3

    # When something is delivered to the first queue
    waits.wake({b"a", b"x"})
    await asyncio.wait([first, second], timeout=120)

    # Then both of its waiters are through, and the other one is not
    assert first.done()
    assert second.done()
    assert not other.done()
    assert len(waits) == 1
    other.cancel()
    await asyncio.wait([other])
    assert not waits


async def test_none_wakes_all_waiters() -> None:
    waits, here = LongPolls(), place()
    tasks = await begun(*(waits.wait(b"%d" % number, here, 600) for number in range(5)))
    waits.wake(None)
    await asyncio.wait_for(asyncio.gather(*tasks), 120)
    assert not waits


async def test_many_are_woken_a_few_at_a_time() -> None:
    # Given more waiters than are woken at once
    waits, here = LongPolls(), place()
    count = 3 * WAKE_AT_ONCE
    tasks = await begun(*(waits.wait(b"q", here, 600) for _ in range(count)))

    # When they are woken
    waits.wake({b"q"})
    await asyncio.sleep(0)

    # Then the event loop has its turn in between, and all get through in the end
    assert 0 < sum(task.done() for task in tasks) < count
    await asyncio.wait_for(asyncio.gather(*tasks), 120)


async def test_a_wait_times_out_without_an_error() -> None:
    waits = LongPolls()
    await asyncio.wait_for(waits.wait(b"q", place(), 0.01), 120)
    assert not waits


async def test_a_lost_partition_ends_only_its_own_waits() -> None:
    waits, lost, kept = LongPolls(), place(), place()
    ended, going_on = await begun(waits.wait(b"a", lost, 600), waits.wait(b"b", kept, 600))
    waits.end_lost(lost, "it is moving")
    with pytest.raises(Unavailable, match="it is moving"):
        await asyncio.wait_for(ended, 120)
    assert not going_on.done()

    waits.close()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(going_on, 120)
    with pytest.raises(Unavailable):
        await waits.wait(b"c", kept, 600)


async def test_a_read_during_a_chunk_waits_for_its_end() -> None:
    # Given a partition between two chunks, and one in the middle of one
    ends, idle, busy = Barrier(), Place(4), Place(4, folding=True)

    # When both are read, then the idle one is read at once
    assert await ends.call(cast(Partition, idle), lambda: idle.position) == 4
    (waiting,) = await begun(ends.call(cast(Partition, busy), lambda: busy.position))
    ends.reached(cast(Partition, idle))
    assert not waiting.done()

    # and the other one at the very moment that its chunk ends
    busy.position = 7
    ends.reached(cast(Partition, busy))
    busy.position = 8
    assert await waiting == 7


async def test_a_waiting_read_ends_with_its_partition() -> None:
    ends, busy = Barrier(), place(position=4, folding=True)

    def broken() -> int:
        raise ValueError("broken")

    lost, failed = await begun(ends.call(busy, lambda: 1), ends.call(busy, broken))
    ends.lost(busy, "it is moving")
    for task in (lost, failed):
        with pytest.raises(Unavailable, match="it is moving"):
            await task
    (failed,) = await begun(ends.call(busy, broken))
    ends.reached(busy)
    with pytest.raises(ValueError, match="broken"):
        await failed


async def test_counting_runs_in_slices_and_checks_before_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given seven rows, counted two at a time
    monkeypatch.setattr(row_counter, "SLICE_ROWS", 2)
    rows = MemoryRows()
    for number in range(7):
        rows.put(b"i", bytes([number]), b"")
    rows.put(b"j", b"", b"")
    turns: list[int] = []

    def turn_by_turn() -> Iterator[None]:
        for number in range(100):
            turns.append(number)
            yield

    ticks = turn_by_turn()
    # When they are counted, then the count is right and took several looks
    assert await RowCounter().count(rows, b"i", lambda: next(ticks)) == 7
    assert len(turns) == 4
    assert await RowCounter().count(rows, b"nothing", lambda: None) == 0

    # and a partition that is lost meanwhile ends it
    def lost() -> None:
        if len(turns) > 6:
            raise Unavailable("lost")
        turns.append(0)

    with pytest.raises(Unavailable):
        await RowCounter().count(rows, b"i", lost)
