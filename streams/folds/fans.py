"""A cache of the members of groups that had a message lately, by partition of their queues.

It saves the route fold from reading the rows of a group again for each message.  No row and no
output depends on what is cached.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from streams.events.codec import join_ids

LARGEST: Final = 1000
"""A group with more members is not cached; it is read from the rows each time."""
MEMBERS_KEPT: Final = 12_000
"""Members that one partition caches, plus one for each group.  When there are more, the least
recently used groups are dropped."""


class Fan:
    """The members of one group, by the partition that their queues belong to."""

    __slots__ = ("_columns", "_queues", "size")

    def __init__(self, members: Iterable[tuple[int, bytes]]) -> None:
        """Take (partition, queue) of each member, in ascending order of queues."""
        self.size = 0
        self._queues: dict[int, list[bytes]] = {}
        self._columns: dict[int, bytes] = {}  # joined ids, unless changed since
        for target, queue in members:
            self.size += 1
            queues = self._queues.get(target)
            if queues is None:
                self._queues[target] = [queue]
            else:
                queues.append(queue)

    def columns(self) -> list[tuple[int, bytes, int]]:
        """Return (partition, joined ids as in Routed, number of ids) of all members."""
        columns = self._columns
        if len(columns) < len(self._queues):
            for target, queues in self._queues.items():
                if target not in columns:
                    columns[target] = join_ids(queues)
        return [(target, columns[target], len(queues)) for target, queues in self._queues.items()]

    def columns_without(self, queue: bytes) -> list[tuple[int, bytes, int]]:
        """Return the same without one queue."""
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
        """Add a member; return False if it was there already."""
        queues = self._queues.setdefault(target, [])
        place = bisect_left(queues, queue)
        if place < len(queues) and queues[place] == queue:
            return False
        queues.insert(place, queue)
        self._columns.pop(target, None)
        self.size += 1
        return True

    def remove(self, target: int, queue: bytes) -> None:
        """Remove a member that is there."""
        queues = self._queues[target]
        del queues[bisect_left(queues, queue)]
        self._columns.pop(target, None)
        if not queues:
            del self._queues[target]
        self.size -= 1


class Fans:
    """The cached groups of one partition, bounded by their number of members."""

    def __init__(self) -> None:
        self._fans: dict[bytes, Fan] = {}
        self._weight = 0

    def columns(self, group: bytes, but: bytes | None) -> list[tuple[int, bytes, int]] | None:
        """Return the members of a group without one queue; None if they are not cached.

        Returns:
            for each partition its number, the joined ids as in Routed, and how many they are.
        """
        fan = self._fans.pop(group, None)
        if fan is None:
            return None
        self._fans[group] = fan  # now the most recently used
        return fan.columns() if but is None else fan.columns_without(but)

    def keep(self, group: bytes, members: Sequence[tuple[int, bytes]]) -> None:
        """Cache a group that was not cached, by (partition, queue) of each member, in order."""
        fan = self._fans[group] = Fan(members)
        self._weight += fan.size + 1
        self._shrink()

    def add(self, group: bytes, target: int, queue: bytes) -> None:
        """Note a new member."""
        fan = self._fans.get(group)
        if fan is not None and fan.add(target, queue):
            self._weight += 1
            if fan.size > LARGEST:
                self._drop(group)
            self._shrink()

    def remove(self, group: bytes, target: int, queue: bytes) -> None:
        """Note that a member has left."""
        fan = self._fans.get(group)
        if fan is not None:
            fan.remove(target, queue)
            self._weight -= 1

    def drop(self, group: bytes) -> None:
        """Forget a group."""
        if group in self._fans:
            self._drop(group)

    def _shrink(self) -> None:
        while self._weight > MEMBERS_KEPT:
            self._drop(next(iter(self._fans)))

    def _drop(self, group: bytes) -> None:
        self._weight -= self._fans.pop(group).size + 1
