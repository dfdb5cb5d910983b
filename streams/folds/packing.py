"""Packs what the route fold has for each partition of queues into few Routed records.

Of entries and records it knows the form only, not why they are made.
"""

from __future__ import annotations

from typing import Final

from streams.events.codec import encode_routed
from streams.fold import Output

SEQS_PER_RECORD: Final = 4096
"""Queue entries that one Routed may have: a delivery's seq is offset * this + its index."""
QUEUES_PER_ENTRY: Final = 1000
"""Queues that one delivery entry may have; a message to more of them takes several parts."""
CHANGES_PER_RECORD: Final = 8192
BYTES_PER_RECORD: Final = 512 * 1024
"""Beyond this a record is closed; one entry alone may be larger."""

BOUND: Final = 1
UNBOUND: Final = 0


class _Pending:
    """Entries for one partition, waiting to be one Routed."""

    __slots__ = (
        "change_groups",
        "change_kinds",
        "change_offsets",
        "change_queues",
        "change_sessions",
        "deliveries",
        "delivery_messages",
        "delivery_offsets",
        "delivery_parts",
        "delivery_queues",
        "size",
    )

    def __init__(self) -> None:
        self.size = 0  # bytes, roughly
        self.change_offsets: list[int] = []
        self.change_kinds = bytearray()
        self.change_groups: list[str] = []
        self.change_queues: list[str] = []
        self.change_sessions: list[str] = []
        self.deliveries = 0  # queue entries
        self.delivery_offsets: list[int] = []
        self.delivery_parts: list[int] = []
        self.delivery_messages: list[bytes] = []
        self.delivery_queues: list[list[str]] = []


class Packer:
    """Collects entries per target partition; finished records go to `ready` in order."""

    def __init__(self, topic: str, source: int, ready: list[Output]) -> None:
        self._topic = topic
        self._source = source
        self._ready = ready
        self._pending: dict[int, _Pending] = {}

    def change(
        self, target: int, offset: int, kind: int, group: str, queue: str, session: str, size: int
    ) -> None:
        """Add a binding made or dropped; `size` is that of its three ids in bytes."""
        pending = self._pending.get(target)
        if pending is None:
            pending = self._pending[target] = _Pending()
        elif (
            pending.size + size > BYTES_PER_RECORD
            or len(pending.change_kinds) == CHANGES_PER_RECORD
        ):
            pending = self._renew(target, pending)
        pending.size += size + 16
        pending.change_offsets.append(offset)
        pending.change_kinds.append(kind)
        pending.change_groups.append(group)
        pending.change_queues.append(queue)
        pending.change_sessions.append(session)

    def delivery(
        self, target: int, offset: int, part: int, message: bytes, queues: list[str], size: int
    ) -> None:
        """Add a message for so many queues; `size` is that of all their ids in bytes."""
        size += len(message) + 2 * len(queues) + 16
        pending = self._pending.get(target)
        if pending is None:
            pending = self._pending[target] = _Pending()
        elif (
            pending.size + size > BYTES_PER_RECORD
            or pending.deliveries + len(queues) > SEQS_PER_RECORD
        ):
            pending = self._renew(target, pending)
        pending.size += size
        pending.deliveries += len(queues)
        pending.delivery_offsets.append(offset)
        pending.delivery_parts.append(part)
        pending.delivery_messages.append(message)
        pending.delivery_queues.append(queues)

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
        first = pending.change_queues[0] if pending.change_queues else pending.delivery_queues[0][0]
        value = encode_routed(
            self._source,
            pending.change_offsets,
            bytes(pending.change_kinds),
            pending.change_groups,
            pending.change_queues,
            pending.change_sessions,
            pending.delivery_offsets,
            pending.delivery_parts,
            pending.delivery_messages,
            pending.delivery_queues,
        )
        self._ready.append(Output(self._topic, target, first.encode(), value, "Routed"))
