"""A fan is what the rows of its group are, whatever has happened to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.events.codec import split_ids
from streams.folds import fans
from streams.folds.fans import Fan, Fans

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


def test_fans_are_bounded_by_their_members() -> None:
    # Given fans of nearly as many members as may be kept, the first of them used last
    kept = Fans()
    size = fans.LARGEST
    groups = [b"g%d" % number for number in range(fans.MEMBERS_KEPT // (size + 1))]
    for group in groups:
        kept.keep(group, Fan((0, b"%05d" % number) for number in range(size)))
    assert kept.get(groups[0]) is not None
    # When there is one more
    left = fans.MEMBERS_KEPT - len(groups) * (size + 1)
    kept.keep(b"new", Fan((0, b"%05d" % number) for number in range(left)))
    # Then the one that was not used for longest has gone
    assert kept.get(groups[1]) is None
    assert all(kept.get(group) for group in [b"new", groups[0], *groups[2:]])
    # And a group that grows large is none of them
    kept.add(groups[0], 0, b"one more")
    assert kept.get(groups[0]) is None


def test_groups_that_nobody_is_in_are_bounded_too() -> None:
    kept = Fans()
    for number in range(fans.MEMBERS_KEPT + 1):
        kept.keep(b"presence:%d" % number, Fan([]))
    assert kept.get(b"presence:0") is None
    assert kept.get(b"presence:1") is not None
