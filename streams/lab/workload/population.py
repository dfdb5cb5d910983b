"""The initial state of the workload: residents, groups and memberships.

The figures are those of DESIGN.md section 1: measured at 11am on one day, with a lognormal
distribution of group sizes.  A population is arrays of numbers (4 bytes per membership), so four
times the measured world takes 15 MB.  `Names` turns the numbers into ids.  Knows neither events
nor Kafka.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

SIZE_MU = 0.49
SIZE_SIGMA = 1.4645


@dataclass(frozen=True, slots=True)
class World:
    """The measured sizes and rates, or a multiple of them."""

    residents: int = 68_000
    """Residents online; each has one queue."""
    groups: int = 131_953
    memberships: int = 629_637
    changes_per_second: float = 260.0
    """Memberships added and removed, including those of created and dropped groups."""
    groups_per_second: float = 23.2
    """Groups created and dropped."""
    messages_per_second: float = 8.6

    def times(self, scale: float) -> World:
        """Return a world that is `scale` times as large and as busy."""
        groups = max(1, round(self.groups * scale))
        return World(
            residents=max(1, round(self.residents * scale)),
            groups=groups,
            memberships=max(groups, round(self.memberships * scale)),
            changes_per_second=self.changes_per_second * scale,
            groups_per_second=self.groups_per_second * scale,
            messages_per_second=self.messages_per_second * scale,
        )


MEASURED = World()


@dataclass(frozen=True, slots=True)
class Names:
    """Ids of groups and of residents' queues; `tag` makes those of one run unique."""

    tag: str

    def group(self, number: int) -> str:
        """Return the id of a group."""
        return f"{self.tag}-g{number}"

    def queue(self, resident: int) -> str:
        """Return the id of a resident's queue."""
        return f"{self.tag}-r{resident}"

    def group_number(self, group: str) -> int | None:
        """Return the number of a group, None if the id is not from this run."""
        return self._number(group, "g")

    def resident(self, queue: str) -> int | None:
        """Return the number of the queue's resident, None if the id is not from this run."""
        return self._number(queue, "r")

    def _number(self, text: str, kind: str) -> int | None:
        head, _, digits = text.rpartition(f"-{kind}")
        return int(digits) if head == self.tag and digits.isdecimal() else None


def draw_size(rng: random.Random) -> int:
    """Draw the size of a group: lognormal, rounded, at least 1."""
    return max(1, round(rng.lognormvariate(SIZE_MU, SIZE_SIGMA)))


class Population:
    """The memberships before the first event.

    Memberships are numbered 0 to `memberships` - 1, group by group; within a group the
    residents ascend.
    """

    def __init__(self, residents: int, starts: array[int], members: array[int]) -> None:
        """Take `starts` (where each group's members begin, and the end) and `members`."""
        self.residents = residents
        self._starts = starts
        self._members = members

    @classmethod
    def generate(cls, world: World = MEASURED, seed: int = 1) -> Population:
        """Draw a population; the same world and seed give the same population."""
        rng = random.Random(seed)
        sizes = _sizes(rng, world)
        starts = array("I", [0])
        members = array("I")
        everyone = range(world.residents)
        for size in sizes:
            chosen = set(rng.choices(everyone, k=size))
            while len(chosen) < size:
                chosen.add(rng.randrange(world.residents))
            members.extend(sorted(chosen))
            starts.append(len(members))
        return cls(world.residents, starts, members)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self._starts) - 1

    @property
    def memberships(self) -> int:
        """Number of memberships."""
        return len(self._members)

    def size(self, group: int) -> int:
        """Return how many members a group has; 0 for a group that does not exist."""
        if not 0 <= group < self.groups:
            return 0
        return self._starts[group + 1] - self._starts[group]

    def members(self, group: int) -> array[int]:
        """Return the residents in a group, ascending; empty for a group that does not exist."""
        if not 0 <= group < self.groups:
            return array("I")
        return self._members[self._starts[group] : self._starts[group + 1]]

    def is_member(self, group: int, resident: int) -> bool:
        """Return whether the resident is in the group."""
        if not 0 <= group < self.groups:
            return False
        start, end = self._starts[group], self._starts[group + 1]
        found = bisect_left(self._members, resident, start, end)
        return found < end and self._members[found] == resident

    def membership(self, number: int) -> tuple[int, int]:
        """Return (group, resident) of one membership."""
        return bisect_right(self._starts, number) - 1, self._members[number]


def _sizes(rng: random.Random, world: World) -> list[int]:
    """Draw all sizes, then nudge random groups by one until the memberships are as measured."""
    largest = world.residents
    sizes = [min(largest, draw_size(rng)) for _ in range(world.groups)]
    excess = sum(sizes) - min(world.memberships, world.groups * largest)
    while excess:
        group = rng.randrange(world.groups)
        if excess > 0 and sizes[group] > 1:
            sizes[group] -= 1
            excess -= 1
        elif excess < 0 and sizes[group] < largest:
            sizes[group] += 1
            excess += 1
    return sizes
