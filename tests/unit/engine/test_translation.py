"""Chunks whose records are translated before they are folded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streams.engine import translation
from streams.engine.progress import Progress
from streams.engine.source import Chunk
from streams.engine.translation import Intake, Part, split
from streams.errors import Unavailable
from streams.fold import BadRecord, NotKnownYet, Record


class Upper:
    """Translates what begins with a zero byte into capitals."""

    def __init__(self) -> None:
        self.away = False

    def concerns(self, value: bytes | None) -> bool:
        return value is not None and value[:1] == b"\0"

    def translate(self, value: bytes) -> bytes:
        if self.away:
            raise Unavailable("the registry is away")
        match value[1:]:
            case b"bad":
                raise BadRecord("broken")
            case b"new":
                raise NotKnownYet("unknown")
        return value[1:].upper()


def chunk(*values: bytes | None, begin: int = 10, end: int | None = None) -> Chunk:
    records = [Record(0, begin + n, 1000, b"k", value) for n, value in enumerate(values)]
    return Chunk("in", 0, begin, end or begin + len(values), records, 99, 1)


def shape(parts: list[Part]) -> list[Any]:
    return [
        (
            part.chunk.begin,
            part.chunk.end,
            [record.value for record in part.chunk.records],
            None if part.refusal is None else str(part.refusal),
            part.must_be_saved,
        )
        for part in parts
    ]


def test_records_are_replaced_by_their_translations() -> None:
    found = split(chunk(b"a", b"\0b", None, b"c", end=20), Upper())
    assert shape(found) == [(10, 20, [b"a", b"B", None, b"c"], None, False)]


def test_refused_records_are_parts_of_their_own() -> None:
    found = split(chunk(b"\0new", b"\0a", b"\0bad", b"\0bad", b"b", b"\0new"), Upper())
    assert shape(found) == [
        (10, 11, [b"\0new"], "unknown", True),
        (11, 12, [b"A"], None, False),
        (12, 13, [b"\0bad"], "broken", False),
        (13, 14, [b"\0bad"], "broken", False),
        (14, 15, [b"b"], None, False),
        (15, 16, [b"\0new"], "unknown", True),
        (16, 16, [], None, False),
    ]


def test_a_gap_of_control_records_within_a_chunk_is_no_loss() -> None:
    records = [Record(0, n, 1000, b"k", value) for n, value in ((10, b"\0bad"), (13, b"a"))]
    found = split(Chunk("in", 0, 10, 15, records, 99, 1), Upper())
    # The second part begins at its first record: a folder would report 11 to 12 as deleted
    assert [(part.chunk.begin, part.chunk.end) for part in found] == [(10, 11), (13, 15)]


class World:
    """An intake, with time that the test lets pass."""

    def __init__(self) -> None:
        self.translator = Upper()
        self.progress = Progress()
        self.pauses: list[float] = []
        self.calls = 0
        self.intake = Intake(self.translator, self.progress, self._blocking, self._pause)

    async def _blocking(self, call: Callable[[], list[Part]]) -> list[Part]:
        self.calls += 1
        return call()

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(seconds)


async def test_plain_records_need_no_thread() -> None:
    world = World()
    plain = chunk(b"a", b"b")
    assert await world.intake.parts(plain) == [Part(plain)]
    assert await Intake(None, Progress(), world._blocking, world._pause).parts(chunk(b"\0a")) == [
        Part(chunk(b"\0a"))
    ]
    assert world.calls == 0


async def test_who_waited_for_a_record_that_is_gone_waits_no_longer() -> None:
    # Given a partition that waited, and was opened again after the record had been deleted
    world = World()
    world.translator.away = True
    assert await world.intake.parts(chunk(b"\0a")) == []
    assert world.progress.waits is not None
    again = Intake(world.translator, world.progress, world._blocking, world._pause)
    assert await again.parts(chunk(b"b")) == [Part(chunk(b"b"))]
    assert world.progress.waits is None


async def test_a_registry_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "PAUSES", (0.02, 0.2))
    world = World()
    world.translator.away = True
    waiting = chunk(b"\0a")
    while world.calls < 4:
        assert await world.intake.parts(waiting) == []
        assert world.progress.waits == "the registry is away"
    # Between the attempts it paused, longer each time, and asked for nothing
    assert len(world.pauses) >= 3
    world.translator.away = False
    while not (found := await world.intake.parts(waiting)):
        pass
    assert shape(found) == [(10, 11, [b"A"], None, False)]
    assert world.progress.waits is None
