"""The traffic keeps the measured rates, and what it says happened is possible."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from streams.lab.workload.population import MEASURED, Population, World
from streams.lab.workload.traffic import (
    MemberJoined,
    MemberLeft,
    MessageSent,
    Traffic,
    TrafficEvent,
)


def until(traffic: Traffic, seconds: float) -> Iterator[TrafficEvent]:
    return takewhile(lambda event: event.at < seconds, traffic.events())


def test_rates_are_those_of_the_world() -> None:
    # Given the measured world
    population = Population.generate()
    traffic = Traffic(population, MEASURED)
    # When five minutes of it pass
    changes = said = reached = 0
    for event in until(traffic, 300):
        if isinstance(event, MessageSent):
            said += 1
            reached += len(traffic.members(event.group))
        else:
            changes += 1
    # Then there were as many changes and messages as measured, and a message reaches about 41
    assert 0.95 < changes / 300 / 260 < 1.05
    assert 0.9 < said / 300 / 8.6 < 1.1
    assert 33 < reached / said < 50


def test_events_are_in_order_and_possible() -> None:
    # Given a small busy world
    world = World(residents=50, groups=40, memberships=150, changes_per_second=500)
    population = Population.generate(world)
    members = {group: set(population.members(group)) for group in range(population.groups)}
    # When it is played for a while
    last = 0.0
    for event in until(Traffic(population, world), 20):
        # Then time never goes back, and only members leave or speak, only outsiders join
        assert event.at >= last
        last = event.at
        group = members.setdefault(event.group, set())
        match event:
            case MemberJoined():
                assert event.resident not in group
                group.add(event.resident)
            case MemberLeft():
                group.remove(event.resident)
            case MessageSent():
                assert event.resident in group


def test_same_seed_same_traffic() -> None:
    # Given one population
    world = MEASURED.times(0.01)
    population = Population.generate(world)
    # Then a seed decides what happens
    played = [list(until(Traffic(population, world, seed), 20)) for seed in (3, 3, 4)]
    assert played[0] == played[1] != played[2]


def test_groups_appear_and_vanish_whole() -> None:
    # Given traffic of groups alone
    world = World(
        residents=200,
        groups=100,
        memberships=500,
        changes_per_second=0,
        messages_per_second=0,
        groups_per_second=50,
    )
    population = Population.generate(world)
    traffic = Traffic(population, world)
    # When it plays
    events = list(until(traffic, 20))
    # Then new groups got numbers of their own, and dropped ones are empty
    created = {h.group for h in events if isinstance(h, MemberJoined)}
    dropped = {h.group for h in events if isinstance(h, MemberLeft)}
    assert created
    assert min(created) >= population.groups
    assert all(not traffic.members(group) for group in dropped)


def test_an_emptied_world_ends_in_silence_not_in_a_loop() -> None:
    # Given a world of one resident in one group
    world = World(residents=1, groups=1, memberships=1, changes_per_second=100)
    traffic = Traffic(Population.generate(world), world)
    # Then time still passes
    assert list(until(traffic, 2))[-1].at > 1
