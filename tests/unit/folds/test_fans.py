"""A fan is what the rows of its group are, whatever has happened to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.native_rows import open_rows
from streams.engine.testing import MemoryDatabase
from streams.events.codec import split_ids
from streams.folds import fans
from streams.folds.fans import Fan, Fans
from streams.folds.log_numbers import LogNumbers
from streams.folds.route import Route
from streams.native import CoreFans, NativeTable, is_available, load

needs_core = pytest.mark.skipif(not is_available(), reason="the native core is not built")


BELOW = MemoryDatabase()
queues = st.integers(0, 12).map(lambda number: b"q%d" % number)
PARTITIONS = 3


def target_of(queue: bytes) -> int:
    return int(queue[1:]) % PARTITIONS


def rows_of(members: set[bytes]) -> dict[int, list[bytes]]:
    rows: dict[int, list[bytes]] = {}
    for queue in sorted(members):
        rows.setdefault(target_of(queue), []).append(queue)
    return rows


def shown(columns: list[tuple[int, bytes, int]]) -> dict[int, list[bytes]]:
    found = {target: split_ids(column) for target, column, _ in columns}
    assert [count for _, _, count in columns] == [len(some) for some in found.values()]
    return found


@given(st.sets(queues), st.lists(queues), queues)
def test_a_fan_follows_its_group(members: set[bytes], changes: list[bytes], but: bytes) -> None:
    fan = Fan((target_of(queue), queue) for queue in sorted(members))
    for queue in changes:
        assert shown(fan.columns()) == rows_of(members)
        if queue in members:
            fan.remove(target_of(queue), queue)
        else:
            assert fan.add(target_of(queue), queue)
            assert not fan.add(target_of(queue), queue)
        members ^= {queue}
    assert fan.size == len(members)
    assert shown(fan.columns()) == rows_of(members)
    assert shown(fan.columns_without(but)) == rows_of(members - {but})


@pytest.fixture(params=["off", pytest.param("on", marks=needs_core)])
def kept(request: pytest.FixtureRequest) -> Fans | CoreFans:
    """The cache of a partition, Python's or the core's."""
    library = load(request.param)
    if library is None:
        return Fans()
    rows = open_rows(BELOW, library)
    Route(rows, 0, 1, "queue-events", LogNumbers(1, 1))
    assert isinstance(rows, NativeTable)
    return CoreFans(rows)


def members(count: int) -> list[tuple[int, bytes]]:
    return [(0, b"%05d" % number) for number in range(count)]


def test_fans_are_bounded_by_their_members(kept: Fans | CoreFans) -> None:
    # Given fans of nearly as many members as may be kept, the first of them used last
    size = fans.LARGEST
    groups = [b"g%d" % number for number in range(fans.MEMBERS_KEPT // (size + 1))]
    for group in groups:
        kept.keep(group, members(size))
    assert kept.columns(groups[0], None) is not None
    # When there is one more
    left = fans.MEMBERS_KEPT - len(groups) * (size + 1)
    kept.keep(b"new", members(left))
    # Then the one that was not used for longest has gone
    assert kept.columns(groups[1], None) is None
    assert all(kept.columns(group, None) for group in [b"new", groups[0], *groups[2:]])
    # And a group that grows large is none of them
    kept.add(groups[0], 0, b"one more")
    assert kept.columns(groups[0], None) is None


def test_groups_that_grow_are_bounded_too(kept: Fans | CoreFans) -> None:
    # Given as many groups without members as may be kept
    groups = [b"g%05d" % number for number in range(fans.MEMBERS_KEPT)]
    for group in groups:
        kept.keep(group, [])
    # When members come to the last of them, while no message does
    new = 100
    for group in groups[-50:]:
        for target, queue in members(new):
            kept.add(group, target, queue)
    # Then others have made room for them
    found = [kept.columns(group, None) for group in groups]
    sizes = [sum(count for _, _, count in columns) + 1 for columns in found if columns is not None]
    assert sum(sizes) == fans.MEMBERS_KEPT
    assert sizes[-50:] == [new + 1] * 50


def test_groups_that_nobody_is_in_are_bounded_too(kept: Fans | CoreFans) -> None:
    for number in range(fans.MEMBERS_KEPT + 1):
        kept.keep(b"presence:%d" % number, [])
    assert kept.columns(b"presence:0", None) is None
    assert kept.columns(b"presence:1", None) == []


@needs_core
@given(st.lists(queues), queues)
def test_the_core_s_fans_are_the_same(changes: list[bytes], but: bytes) -> None:
    rows = open_rows(BELOW, load("on"))
    Route(rows, 0, 1, "queue-events", LogNumbers(1, 1))
    assert isinstance(rows, NativeTable)
    python, native = Fans(), CoreFans(rows)
    both: list[Fans | CoreFans] = [python, native]
    for one in both:
        one.keep(b"g", [])
    held: set[bytes] = set()
    for queue in changes:
        for one in both:
            (one.remove if queue in held else one.add)(b"g", target_of(queue), queue)
        held ^= {queue}
        for without in (None, but):
            assert native.columns(b"g", without) == python.columns(b"g", without)
