"""What threads and tasks are doing, in words."""

from __future__ import annotations

import asyncio
import threading

from streams.engine.stacks import summary, task_stack, thread_stacks


def test_threads_at_the_same_place_are_shown_together() -> None:
    # Given two threads that wait at the same place
    release = threading.Event()
    started = threading.Barrier(3)

    def wait_here() -> None:
        started.wait(180)
        release.wait(180)

    threads = [threading.Thread(target=wait_here, name=f"twin {n}") for n in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        started.wait(180)
        # When both have come there, Then one row shows both, the innermost call first
        while not (
            rows := [row for row in thread_stacks() if row["threads"] == ["twin 1", "twin 2"]]
        ):
            pass
        assert "wait" in rows[0]["at"][0]
        assert any("test_stacks.py" in call and "wait_here" in call for call in rows[0]["at"])
        assert "twin 1" in summary(6)
    finally:
        release.set()
        for thread in threads:
            thread.join()


async def test_a_task_shows_where_it_waits() -> None:
    event = asyncio.Event()

    async def inner() -> None:
        await event.wait()

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    calls = [call.rpartition(" ")[2] for call in task_stack(task)]
    assert calls == ["wait", "inner", "outer"]
    event.set()
    await task
    assert task_stack(task) == []
