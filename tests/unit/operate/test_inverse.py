"""Bindings in both tables must be inverses; what changes during the look is looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pytest

import streams.operate.comparing as comparing
from streams.engine.testing import MemoryRows
from streams.errors import Unavailable
from streams.events.codec import encode
from streams.events.records import Bind, UnbindPattern
from streams.folds.patterns import HELD_BY_ALL
from streams.folds.tables import MEMBERS, QUEUES
from streams.operate.comparing import Comparison, InverseCheck
from streams.operate.rebuild import Rebuilt
from streams.settings import Settings

SETTINGS = Settings.from_env({"STREAMS_PARTITIONS": "1"})


class FakeRebuilt:
    """A rebuilt partition whose rows are changed by being rolled forward."""

    partition = 0

    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.later: list[Callable[[MemoryRows], None]] = []

    def roll(self, to: int) -> None:
        if self.later:
            self.later.pop(0)(self.rows)

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        return self.rows.get(bucket, suffix)

    def items(self, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        return (row for row in self.rows.items() if row[0] > after)


class FakeMessage:
    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes:
        return b""

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return 0, 0


class FakeLog:
    """A log in which these bindings changed while one looked, round by round."""

    def __init__(self, changes: list[list[tuple[str, str]]]) -> None:
        self._changes = changes

    def ends(self, topic: str) -> dict[int, int]:
        return {0: 10}

    def read(
        self, topic: str, start: Mapping[int, int], end: Mapping[int, int]
    ) -> Iterator[FakeMessage]:
        for group, queue in self._changes.pop(0) if self._changes else ():
            change = UnbindPattern(group, queue, "#") if group == "topic" else Bind(group, queue)
            yield FakeMessage(encode(change))

    def translated(self, topic: str, value: bytes | None) -> bytes | None:
        return value


class FakeCluster:
    class _Place:
        checkpointed = 10

    async def folded(self, table: str, ends: Mapping[int, int], timeout: float) -> None:
        pass

    async def partitions(self) -> dict[tuple[str, int], Any]:
        return {(MEMBERS, 0): self._Place()}


class Tables:
    def __init__(self) -> None:
        self.members = FakeRebuilt()
        self.queues = FakeRebuilt()
        self.result = Comparison()

    def bind(self, group: str, queue: str, session: str = "") -> None:
        self.members.rows.put(b"m" + group.encode(), queue.encode(), b"\0\0" + session.encode())
        self.queues.rows.put(b"b" + queue.encode(), group.encode(), session.encode())

    async def check(self, changes: list[list[tuple[str, str]]] | None = None) -> Comparison:
        tables = {MEMBERS: [self.members], QUEUES: [self.queues]}
        inverse = InverseCheck(
            cast(Any, FakeLog(changes or [])),
            SETTINGS,
            cast(Any, FakeCluster()),
            cast(dict[str, list[Rebuilt]], tables),
            self.result,
        )
        await inverse.check(lambda done: None)
        return self.result


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    monkeypatch.setattr(comparing, "PAUSE_SECONDS", 0.0)
    both = Tables()
    both.bind("g", "q")
    both.bind("g", "r", "s")
    both.bind("h", "q")
    # Rows of other kinds are none of its business.
    both.members.rows.put(b"t", b"", bytes(8))
    both.queues.rows.put(b"iq", bytes(8), b"")
    return both


async def test_inverses_are_well(tables: Tables) -> None:
    result = await tables.check()
    assert (result.bindings, result.count) == (3, 0)


async def test_a_binding_with_patterns_is_permanent(tables: Tables) -> None:
    tables.bind("topic", "q")
    tables.members.rows.put(b"mtopic", b"q", b"\0\0" + HELD_BY_ALL)
    tables.members.rows.put(b"ptopic", b"q\0#", b"\0\0")
    result = await tables.check()
    assert (result.bindings, result.count) == (4, 0)
    # And one whose patterns change is looked at again
    tables.members.rows.delete(b"mtopic", b"q")
    tables.queues.later = [lambda rows: None, lambda rows: rows.delete(b"bq", b"topic")]
    result = await tables.check([[("topic", "q")]])
    assert result.count == 0


async def test_a_binding_that_only_members_has(tables: Tables) -> None:
    tables.queues.rows.delete(b"bq", b"g")
    result = await tables.check()
    assert result.differences == ["queue q and group g: bound in members, not bound in queues"]


async def test_a_binding_that_only_queues_has(tables: Tables) -> None:
    tables.members.rows.delete(b"mg", b"r")
    result = await tables.check()
    assert result.differences == [
        "queue r and group g: not bound in members, bound in session s in queues"
    ]


async def test_another_session(tables: Tables) -> None:
    tables.queues.rows.put(b"br", b"g", b"t")
    assert (await tables.check()).count == 1


async def test_a_change_on_its_way_is_looked_at_again(tables: Tables) -> None:
    # Given a binding that has reached queues already, and members by the next look
    tables.queues.rows.put(b"bz", b"g", b"")
    tables.members.later = [
        lambda rows: None,
        lambda rows: rows.put(b"mg", b"z", b"\0\0"),
    ]
    # Then it is no difference
    assert (await tables.check([[("g", "z")]])).count == 0


async def test_a_change_that_stays_half_done_is_a_difference(tables: Tables) -> None:
    # Given a binding that changed during the first look, and is still different in the second
    tables.queues.rows.put(b"bz", b"g", b"")
    assert (await tables.check([[("g", "z")]])).count == 1


async def test_a_binding_that_never_rests_ends_in_an_error(tables: Tables) -> None:
    # Given a binding that changes during every look
    tables.queues.rows.put(b"bz", b"g", b"")
    with pytest.raises(Unavailable, match="changed during every round"):
        await tables.check([[("g", "z")]] * 100)
