"""The population has the figures that were measured."""

from __future__ import annotations

import statistics

from streams.lab.workload.population import MEASURED, Names, Population


def test_measured_world_has_the_measured_figures() -> None:
    # When the measured world is drawn
    population = Population.generate()
    # Then groups and memberships are exactly as many, and sizes are spread as they were
    sizes = [population.size(group) for group in range(population.groups)]
    assert population.groups == 131_953
    assert population.memberships == sum(sizes) == 629_637
    assert min(sizes) == 1
    assert 9 < statistics.pstdev(sizes) < 18
    assert 400 < max(sizes) < 2_000


def test_same_seed_same_world() -> None:
    # Given two draws of one seed, and one of another
    world = MEASURED.times(0.01)
    one, two, other = (Population.generate(world, seed) for seed in (7, 7, 8))
    # Then the two are the same and the other is not
    everyone = [[list(p.members(g)) for g in range(p.groups)] for p in (one, two, other)]
    assert everyone[0] == everyone[1] != everyone[2]


def test_members_of_a_group_are_different_residents_in_order() -> None:
    # Given so few residents that large groups need nearly all of them
    population = Population.generate(MEASURED.times(0.002))
    # Then nobody is in a group twice, and lookups agree with the listing
    for group in range(population.groups):
        members = list(population.members(group))
        assert members == sorted(set(members))
        assert all(population.is_member(group, resident) for resident in members)
    assert not population.is_member(0, population.residents)
    assert not population.is_member(population.groups, 0)
    assert list(population.members(population.groups)) == []


def test_memberships_are_numbered_group_by_group() -> None:
    # Given a small world
    population = Population.generate(MEASURED.times(0.001))
    # When every membership is asked for by its number
    listed = [population.membership(number) for number in range(population.memberships)]
    # Then these are the members of all groups
    assert listed == [
        (group, resident)
        for group in range(population.groups)
        for resident in population.members(group)
    ]


def test_names_know_their_own() -> None:
    # Given the names of one run
    names = Names("k3")
    # Then ids lead back to numbers, and those of another run to nothing
    assert names.group_number(names.group(12)) == 12
    assert names.resident(names.queue(34)) == 34
    assert names.group_number(Names("k4").group(12)) is None
    assert names.group_number(names.queue(12)) is None
    assert names.group_number("k3-g1x") is None
