"""The receivers of groups that had a message lately, kept in memory by partition of queues.

A copy of rows that the route fold has read and goes on writing: it saves reading them again
for the next message, and no row and no output depends on whether it is there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from streams.events.codec import join_ids

LARGEST: Final = 1000
"""A group with more members is read from the rows each time."""
MEMBERS_KEPT: Final = 12_000
"""Of all groups together that one partition keeps, each group counted as one more: nobody may
be in it. Beyond, the longest unused go first."""


class Fan:
    """The members of one group, by the partition that their queues belong to."""

    __slots__ = ("_columns", "_queues", "size")

    def __init__(self, members: Iterable[tuple[int, bytes]]) -> None:
        """Take (partition, queue) of all members, in ascending order of queues."""
        self.size = 0
        self._queues: dict[int, list[bytes]] = {}
        self._columns: dict[int, bytes] = {}  # of those that have not changed since
        for target, queue in members:
            self.size += 1
            queues = self._queues.get(target)
            if queues is None:
                self._queues[target] = [queue]
            else:
                queues.append(queue)

    def columns(self) -> list[tuple[int, bytes, int]]:
        """Return (partition, ids as Routed has them, how many) of all receivers."""
        columns = self._columns
        if len(columns) < len(self._queues):
            for target, queues in self._queues.items():
                if target not in columns:
                    columns[target] = join_ids(queues)
        return [(target, columns[target], len(queues)) for target, queues in self._queues.items()]

    def columns_without(self, queue: bytes) -> list[tuple[int, bytes, int]]:
        """Return the same without one queue, if it is among them."""
        found = []
        for target, column, count in self.columns():
            queues = self._queues[target]
            place = bisect_left(queues, queue)
            if place == count or queues[place] != queue:
                found.append((target, column, count))
            elif count > 1:
                others = [*queues[:place], *queues[place + 1 :]]
                found.append((target, join_ids(others), count - 1))
        return found

    def add(self, target: int, queue: bytes) -> bool:
        """Add a member; True unless it was there already."""
        queues = self._queues.setdefault(target, [])
        place = bisect_left(queues, queue)
        if place < len(queues) and queues[place] == queue:
            return False
        queues.insert(place, queue)
        self._columns.pop(target, None)
        self.size += 1
        return True

    def remove(self, target: int, queue: bytes) -> None:
        """Remove a member, which is there."""
        queues = self._queues[target]
        del queues[bisect_left(queues, queue)]
        self._columns.pop(target, None)
        if not queues:
            del self._queues[target]
        self.size -= 1


class Fans:
    """The fans of one partition, bounded by their members."""

    def __init__(self) -> None:
        self._fans: dict[bytes, Fan] = {}
        self._weight = 0

    def get(self, group: bytes) -> Fan | None:
        """Return a group's fan, if it is known."""
        fan = self._fans.pop(group, None)
        if fan is not None:
            self._fans[group] = fan  # the last to go
        return fan

    def keep(self, group: bytes, fan: Fan) -> None:
        """Keep the fan of a group that was not known."""
        self._fans[group] = fan
        self._weight += fan.size + 1
        while self._weight > MEMBERS_KEPT:
            self._drop(next(iter(self._fans)))

    def add(self, group: bytes, target: int, queue: bytes) -> None:
        """Take note of a new member."""
        fan = self._fans.get(group)
        if fan is not None and fan.add(target, queue):
            self._weight += 1
            if fan.size > LARGEST:
                self._drop(group)

    def remove(self, group: bytes, target: int, queue: bytes) -> None:
        """Take note that a member has gone."""
        fan = self._fans.get(group)
        if fan is not None:
            fan.remove(target, queue)
            self._weight -= 1

    def _drop(self, group: bytes) -> None:
        self._weight -= self._fans.pop(group).size + 1
