"""Packs what the route fold has for each partition of queues into few Routed records.

Of entries and records it knows the form only, not why they are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from streams.events.codec import encode_routed, join_ids
from streams.fold import Output
from streams.folds.counts import Counts

SEQS_PER_RECORD: Final = 4096
"""Queue entries that one Routed may have: a delivery's seq is offset * this + its place."""
QUEUES_PER_ENTRY: Final = 1000
"""Queues that one delivery entry may have; a message to more of them takes several parts."""
CHANGES_PER_RECORD: Final = 8192
BYTES_PER_RECORD: Final = 512 * 1024
"""Beyond this a record is closed; one entry alone may be larger."""

_Change = tuple[int, int, bytes, bytes, bytes]  # offset, kind, group, queue, session
_Delivery = tuple[int, int, bytes, list[bytes]]  # offset, part, message, queues

BOUND: Final = 1
UNBOUND: Final = 0


class _Pending:
    """Entries for one partition, waiting to be one Routed."""

    __slots__ = ("changes", "deliveries", "entries", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes, roughly
        self.entries = 0  # queues of all deliveries
        self.changes: list[_Change] = []
        self.deliveries: list[_Delivery] = []


class Packer:
    """Collects entries per target partition; finished records go to `ready` in order."""

    def __init__(self, topic: str, source: int, ready: list[Output], counts: Counts) -> None:
        self._counts = counts
        self._topic = topic
        self._source = source
        self._ready = ready
        self._pending: dict[int, _Pending] = {}

    def change(self, target: int, change: _Change, size: int) -> None:
        """Add a binding made or dropped; `size` is that of its three ids in bytes."""
        pending = self._pending.get(target)
        if pending is None:
            pending = self._pending[target] = _Pending()
        elif pending.size + size > BYTES_PER_RECORD or len(pending.changes) == CHANGES_PER_RECORD:
            pending = self._renew(target, pending)
        pending.size += size + 16
        pending.changes.append(change)

    def delivery(self, target: int, delivery: _Delivery, size: int) -> None:
        """Add a message for some queues; `size` is that of all their ids in bytes."""
        _, _, message, queues = delivery
        size += len(message) + 2 * len(queues) + 16
        pending = self._pending.get(target)
        if pending is None:
            pending = self._pending[target] = _Pending()
        elif (
            pending.size + size > BYTES_PER_RECORD
            or pending.entries + len(queues) > SEQS_PER_RECORD
        ):
            pending = self._renew(target, pending)
        pending.size += size
        pending.entries += len(queues)
        pending.deliveries.append(delivery)

    def flush(self) -> None:
        """Close all records that are being packed, in order of their partitions."""
        for target in sorted(self._pending):
            self._close(target, self._pending[target])
        self._pending.clear()

    def _renew(self, target: int, full: _Pending) -> _Pending:
        self._close(target, full)
        fresh = self._pending[target] = _Pending()
        return fresh

    def _close(self, target: int, pending: _Pending) -> None:
        offsets, kinds, groups, queues, sessions = _columns(pending.changes, 5)
        origins, parts, messages, receivers = _columns(pending.deliveries, 4)
        bound = kinds.count(BOUND)
        self._counts.binds += bound
        self._counts.unbinds += len(kinds) - bound
        self._counts.deliveries += pending.entries
        value = encode_routed(
            self._source,
            offsets,
            bytes(kinds),
            join_ids(groups),
            join_ids(queues),
            join_ids(sessions),
            origins,
            parts,
            messages,
            [join_ids(some) for some in receivers],
        )
        first = queues[0] if queues else receivers[0][0]
        self._ready.append(Output(self._topic, target, first, value, "Routed"))


def _columns(entries: Sequence[tuple[Any, ...]], width: int) -> Sequence[tuple[Any, ...]]:
    return tuple(zip(*entries, strict=True)) if entries else ((),) * width
