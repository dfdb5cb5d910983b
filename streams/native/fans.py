"""The core's cache of the members of groups that had a message lately (`streams.folds.fans`)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any

from streams.native.runs import NativeTable

_COLUMN = struct.Struct("<III")


class CoreFans:
    """The cache of a route fold in the core; what `streams.folds.fans.Fans` is in Python."""

    def __init__(self, table: NativeTable) -> None:
        """Begin, with the rows of a fold for which there is a `RouteCore`."""
        self._table = table
        self._core: Any = table.library.held

    def columns(self, group: bytes, but: bytes | None) -> list[tuple[int, bytes, int]] | None:
        """Return the members of a group; see `Fans.columns`."""
        size = 0 if but is None else len(but)
        packed = self._core.fans_columns(self._table.handle, group, len(group), but, size)
        if packed is None:
            return None
        found, place = [], 0
        while place < len(packed):
            target, count, size = _COLUMN.unpack_from(packed, place)
            begin = place + _COLUMN.size
            place = begin + size
            found.append((target, packed[begin:place], count))
        return found

    def keep(self, group: bytes, members: Sequence[tuple[int, bytes]]) -> None:
        """Cache a group; see `Fans.keep`."""
        targets = array("i", [target for target, _ in members])
        queues = b"".join([queue + b"\0" for _, queue in members])
        self._core.fans_keep(
            self._table.handle,
            group,
            len(group),
            targets.buffer_info()[0],
            queues,
            len(members),
        )

    def add(self, group: bytes, target: int, queue: bytes) -> None:
        """Note a new member."""
        core, handle = self._core, self._table.handle
        core.fans_add(handle, group, len(group), target, queue, len(queue))

    def drop(self, group: bytes) -> None:
        """Forget a group."""
        self._core.fans_drop(self._table.handle, group, len(group))

    def remove(self, group: bytes, target: int, queue: bytes) -> None:
        """Note that a member has left."""
        core, handle = self._core, self._table.handle
        core.fans_remove(handle, group, len(group), target, queue, len(queue))
