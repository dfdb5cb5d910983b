"""What the benches feed: the sizes and places that they promise."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from streams.events.codec import decode, encode
from streams.events.records import Bind, Message, Open
from streams.kafka.partitioner import partition_of
from streams.lab.bench import fanout, hotgroup, matrix, scale, storm
from streams.lab.bench.churn import memberships
from streams.lab.bench.latency import choose_readers
from streams.lab.bench.producing import change, messages
from streams.lab.bench.progress import ClusterSnapshot
from streams.lab.bench.routed import delivered, unbound
from streams.lab.workload.population import Population, World
from streams.lab.workload.traffic import MessageSent


def test_memberships_are_distinct_and_as_many_as_asked_for() -> None:
    pairs = memberships(5_000, "c")
    assert len(set(pairs)) == len(pairs)
    assert abs(len(pairs) - 5_000) < 50
    assert memberships(5_000, "c") == pairs


@pytest.mark.parametrize("groups", [1, 50, 200, 2_000])
def test_every_group_of_fanout_has_41_members(groups: int) -> None:
    pairs = list(fanout.bindings(groups))
    assert len(set(pairs)) == len(pairs)
    assert set(Counter(group for group, _ in pairs).values()) == {41}


def test_scale_goes_up_tenfold_to_the_most() -> None:
    assert scale.steps(10_000) == [10_000]
    assert scale.steps(20_000) == [10_000, 20_000]
    assert scale.steps(10_000_000) == [10_000, 100_000, 1_000_000, 10_000_000]


@pytest.mark.parametrize("each", [1, 2, 9])
def test_each_queue_of_scale_is_in_as_many_groups_of_about_five(each: int) -> None:
    world = scale.BindingLayout.of(10_000, each)
    pairs = list(world.bindings(0, 10_000))
    assert set(Counter(queue for _, queue in set(pairs)).values()) == {each}
    sizes = Counter(group for group, _ in pairs)
    assert len(sizes) > 0.9 * world.groups
    assert max(sizes.values()) < 30


def test_each_session_of_the_storm_has_nine_groups() -> None:
    for sessions in (500, 10_000):
        for event in islice(storm.opens(sessions), 100):
            opened = decode(event.value)
            assert isinstance(opened, Open)
            assert event.key == opened.queue.encode()
            assert len(set(opened.groups)) == storm.BINDINGS


def test_groups_are_in_the_partition_of_the_hot_one_or_not() -> None:
    hot = partition_of(hotgroup.HOT.encode(), 8)
    near = list(islice(hotgroup.names("n", 8, with_hot=True), 20))
    far = list(islice(hotgroup.names("n", 8, with_hot=False), 20))
    assert {partition_of(group.encode(), 8) for group in near} == {hot}
    assert hot not in {partition_of(group.encode(), 8) for group in far}


def test_large_bodies_are_few() -> None:
    assert matrix.messages_of(1, 20_000) == 20_000
    assert 20 <= matrix.messages_of(128 * 1024, 20_000) < 200


def test_readers_are_those_who_get_most_until_there_are_two_a_message() -> None:
    # Given a message to each of 50 groups
    population = Population.generate(World(residents=100, groups=50, memberships=240))
    said = [MessageSent(0.0, group, 0) for group in range(50)]

    def arrivals(queues: list[str]) -> list[int]:
        residents = [int(queue.partition("-r")[2]) for queue in queues]
        return [sum(population.is_member(g, r) for g in range(50)) for r in residents]

    # When readers are chosen, then they get two for each message, and nobody in vain
    found = arrivals(choose_readers(population, said, 100))
    assert 100 <= sum(found) < 100 + max(found)
    assert found == sorted(found, reverse=True)
    assert min(found) > 0
    # and there are never more than the limit
    assert len(choose_readers(population, said, 3)) == 3


def test_events_are_what_they_say() -> None:
    event = change("Bind", "g", "q")
    assert (event.key, event.type) == (b"g", "Bind")
    bind = decode(event.value)
    assert isinstance(bind, Bind)
    assert (bind.group, bind.queue, bind.session) == ("g", "q", None)

    sent = [decode(event.value) for event in messages(["a", "b"], "m", b"body")]
    assert [(m.id, m.group, m.body) for m in sent if isinstance(m, Message)] == [
        ("m-0", "a", b"body"),
        ("m-1", "b", b"body"),
    ]


def test_entries_of_a_routed_are_counted() -> None:
    routed = {
        "change_kinds": b"\1\0\0\1",
        "delivery_messages": [encode(Message("one", "g", "s")), encode(Message("two", "g", "s"))],
        "delivery_queues": [b"a\0b\0", b"c\0"],
    }
    assert unbound(routed) == 2
    assert delivered("one")(routed) == 2
    assert delivered("two")(routed) == 1
    assert delivered("three")(routed) == 0


def test_a_table_has_folded_when_all_its_partitions_have() -> None:
    look = ClusterSnapshot(
        {("queues", 0): 5, ("queues", 1): 7}, {("queues", 0): 5, ("queues", 1): 6}, {}, True, 0, 0
    )
    assert look.has_folded("queues", {0: 5, 1: 7})
    assert not look.has_folded("queues", {0: 6, 1: 7})
    assert not look.has_folded("queues", {0: 5, 2: 1})
    assert look.has_folded("queues", {2: 0})
    assert not look.is_checkpointed
