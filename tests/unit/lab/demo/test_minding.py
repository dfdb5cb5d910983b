"""While the demo plays, in whatever phase, the system under it is minded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.errors import StreamsError
from streams.lab.demo import playing
from streams.lab.demo.playing import DemoPlan, _DemoRun
from streams.settings import Settings

LIMIT = 120.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "LOOK_SECONDS", 0.001)


def demo(between: Any) -> _DemoRun:
    gateway: Any = None
    return _DemoRun(Settings.from_env({}), gateway, DemoPlan(1.0, 0.001), between)


async def test_it_is_minded_from_the_beginning_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a play whose first phase lasts until a worker has been restarted
    looks = 0
    minded = asyncio.Event()

    def between() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            minded.set()

    run = demo(between)

    async def load() -> str:
        await minded.wait()
        return "played"

    monkeypatch.setattr(run, "_play", load)
    # When it is played, Then it comes to its end, and minding ends with it
    result: object = await asyncio.wait_for(run.play(), LIMIT)
    assert result == "played"
    before = looks
    await asyncio.sleep(0.05)
    assert looks == before


async def test_a_system_that_cannot_be_mended_ends_the_play(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def between() -> None:
        raise StreamsError("worker-1 does not stay up")

    run, ended = demo(between), asyncio.Event()

    async def load() -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            ended.set()

    monkeypatch.setattr(run, "_play", load)
    with pytest.raises(StreamsError, match="does not stay up"):
        await asyncio.wait_for(run.play(), LIMIT)
    assert ended.is_set()


async def test_an_error_of_the_play_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    run = demo(lambda: None)

    async def load() -> None:
        raise StreamsError("no progress")

    monkeypatch.setattr(run, "_play", load)
    with pytest.raises(StreamsError, match="no progress"):
        await asyncio.wait_for(run.play(), LIMIT)
