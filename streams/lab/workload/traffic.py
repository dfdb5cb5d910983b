"""The events of the workload: joins, leaves, created and dropped groups, and messages.

A schedule in seconds from its start, drawn from a seed and the rates of a world; the caller
provides the clock.  Knows neither the records nor Kafka.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from streams.lab.workload.population import Population, World, draw_size


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A resident becomes a member of a group."""

    at: float
    group: int
    resident: int


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A resident stops being a member of a group."""

    at: float
    group: int
    resident: int


@dataclass(frozen=True, slots=True)
class MessageSent:
    """A member sends a message to a group."""

    at: float
    group: int
    resident: int


TrafficEvent = MemberJoined | MemberLeft | MessageSent


class Traffic:
    """The events of one run, in order of time.

    Groups are created and dropped with all their members, equally often.  Their members count as
    changes, and single joins and leaves add up to the measured rate.  The chance that a message
    goes to a group is proportional to the group's size.
    """

    def __init__(self, population: Population, world: World, seed: int = 1) -> None:
        """Start from `population`; `world` gives the rates."""
        self._population = population
        self._world = world
        self._rng = random.Random(f"traffic {seed}")
        self._next_group = population.groups
        self._touched: dict[int, set[int]] = {}
        # Memberships added since the start; those that ended again are skipped when drawn.
        self._added_groups = array("I")
        self._added_residents = array("I")

    def members(self, group: int) -> set[int]:
        """Return the members a group has after what was drawn so far."""
        touched = self._touched.get(group)
        return set(self._population.members(group)) if touched is None else touched

    def events(self) -> Iterator[TrafficEvent]:
        """Yield what happens, forever, in order of time.

        Three independent Poisson streams; the rate of single joins and leaves follows the
        changes that whole groups have made so far.
        """
        world = self._world
        rng = self._rng
        next_group = _after(rng, 0.0, world.groups_per_second)
        next_said = _after(rng, 0.0, world.messages_per_second)
        next_change = _after(rng, 0.0, world.changes_per_second)
        changes = 0
        while True:
            at = min(next_group, next_said, next_change)
            if at == float("inf"):
                return
            if at == next_said:
                next_said = _after(rng, at, world.messages_per_second)
                spoken = self._draw_membership()
                if spoken is not None:
                    yield MessageSent(at, *spoken)
            elif at == next_group:
                next_group = _after(rng, at, world.groups_per_second)
                whole = self._create(at) if rng.random() < 0.5 else self._drop(at)
                changes += len(whole)
                yield from whole
            else:
                next_change = _after(rng, at, world.changes_per_second)
                if changes < at * world.changes_per_second:
                    changes += 1
                    yield self._join(at) if rng.random() < 0.5 else self._leave(at)

    def _own(self, group: int) -> set[int]:
        members = self._touched.get(group)
        if members is None:
            members = self._touched[group] = set(self._population.members(group))
        return members

    def _add(self, group: int, resident: int) -> None:
        self._own(group).add(resident)
        self._added_groups.append(group)
        self._added_residents.append(resident)

    def _draw_membership(self) -> tuple[int, int] | None:
        """Draw one of the memberships there are, all alike: so large groups come often."""
        standing = self._population.memberships
        for _ in range(1000):
            number = self._rng.randrange(standing + len(self._added_groups))
            if number < standing:
                group, resident = self._population.membership(number)
            else:
                group = self._added_groups[number - standing]
                resident = self._added_residents[number - standing]
            touched = self._touched.get(group)
            if touched is None or resident in touched:
                return group, resident
        return None  # Nearly everybody has left: there is nobody to draw.

    def _join(self, at: float) -> TrafficEvent:
        drawn = self._draw_membership()
        group = drawn[0] if drawn else 0
        members = self.members(group)
        if len(members) >= self._population.residents:
            return self._leave(at)
        resident = self._rng.randrange(self._population.residents)
        while resident in members:
            resident = self._rng.randrange(self._population.residents)
        self._add(group, resident)
        return MemberJoined(at, group, resident)

    def _leave(self, at: float) -> TrafficEvent:
        drawn = self._draw_membership()
        if drawn is None:
            return self._join(at)
        group, resident = drawn
        self._own(group).discard(resident)
        return MemberLeft(at, group, resident)

    def _create(self, at: float) -> list[TrafficEvent]:
        group = self._next_group
        self._next_group += 1
        size = min(draw_size(self._rng), self._population.residents)
        members = self._rng.sample(range(self._population.residents), size)
        for resident in members:
            self._add(group, resident)
        return [MemberJoined(at, group, resident) for resident in members]

    def _drop(self, at: float) -> list[TrafficEvent]:
        group = self._rng.randrange(self._next_group)
        members = self._own(group)
        left = [MemberLeft(at, group, resident) for resident in sorted(members)]
        members.clear()
        return list(left)


def _after(rng: random.Random, at: float, rate: float) -> float:
    return at + rng.expovariate(rate) if rate > 0 else float("inf")
