"""Packs what the route fold has for each partition of queues into few Routed records.

Of entries and records it knows the form only, not why they are made.
"""

from __future__ import annotations

from typing import Final

from streams.events.codec import encode_routed, join_ids
from streams.fold import Output
from streams.folds.counts import Counts

SEQS_PER_RECORD: Final = 4096
"""Queue entries that one Routed may have: a delivery's seq is offset * this + its place."""
QUEUES_PER_ENTRY: Final = 500
"""Queues that one entry of a large group's message may have; it takes several parts."""
SLOW_LANE: Final = 1
"""Of what a large group gets; all else goes by lane 0, in the order of the log."""
CHANGES_PER_RECORD: Final = 8192
BYTES_PER_RECORD: Final = 512 * 1024
"""Beyond this a record is closed; one entry alone may be larger."""

BOUND: Final = 1
UNBOUND: Final = 0


class _Pending:
    """Entries for one partition, waiting to be one Routed: its columns."""

    __slots__ = (
        "columns",
        "entries",
        "groups",
        "kinds",
        "messages",
        "offsets",
        "origins",
        "parts",
        "queues",
        "sessions",
        "size",
    )

    def __init__(self) -> None:
        self.size = 0  # bytes, roughly
        self.offsets: list[int] = []  # of changes, like the four that follow
        self.kinds = bytearray()
        self.groups: list[bytes] = []
        self.queues: list[bytes] = []
        self.sessions: list[bytes] = []
        self.entries = 0  # queues of all deliveries
        self.origins: list[int] = []  # of deliveries, like the three that follow
        self.parts: list[int] = []
        self.messages: list[bytes] = []
        self.columns: list[bytes] = []


class Packer:
    """Collects entries per target partition; finished records go to `ready` in order."""

    def __init__(
        self, topic: str, source: int, ready: list[Output], counts: Counts, lane: int = 0
    ) -> None:
        self._lane = lane
        self._counts = counts
        self._topic = topic
        self._source = source
        self._ready = ready
        self._pending: dict[int, _Pending] = {}

    def change(
        self, target: int, offset: int, kind: int, group: bytes, queue: bytes, session: bytes
    ) -> None:
        """Add a binding made or dropped by the record at `offset`."""
        size = len(group) + len(queue) + len(session)
        pending = self._pending.get(target)
        if pending is None:
            pending = self._pending[target] = _Pending()
        elif pending.size + size > BYTES_PER_RECORD or len(pending.offsets) == CHANGES_PER_RECORD:
            pending = self._renew(target, pending)
        pending.size += size + 16
        pending.offsets.append(offset)
        pending.kinds.append(kind)
        pending.groups.append(group)
        pending.queues.append(queue)
        pending.sessions.append(session)

    def delivery(
        self, target: int, offset: int, part: int, message: bytes, column: bytes, count: int
    ) -> None:
        """Add a message for `count` queues; `column` has their ids as `join_ids` makes it."""
        size = len(message) + len(column) + count + 16
        pending = self._pending.get(target)
        if pending is None:
            pending = self._pending[target] = _Pending()
        elif pending.size + size > BYTES_PER_RECORD or pending.entries + count > SEQS_PER_RECORD:
            pending = self._renew(target, pending)
        pending.size += size
        pending.entries += count
        pending.origins.append(offset)
        pending.parts.append(part)
        pending.messages.append(message)
        pending.columns.append(column)

    def flush(self) -> None:
        """Close all records that are being packed, in order of their partitions."""
        for target in sorted(self._pending):
            self._close(target, self._pending[target])
        self._pending.clear()

    def flush_one(self, target: int) -> None:
        """Close the record that is being packed for one partition."""
        self._close(target, self._pending.pop(target))

    def _renew(self, target: int, full: _Pending) -> _Pending:
        self._close(target, full)
        fresh = self._pending[target] = _Pending()
        return fresh

    def _close(self, target: int, pending: _Pending) -> None:
        bound = pending.kinds.count(BOUND)
        self._counts.binds += bound
        self._counts.unbinds += len(pending.kinds) - bound
        self._counts.deliveries += pending.entries
        queues = pending.queues
        value = encode_routed(
            self._source,
            pending.offsets,
            bytes(pending.kinds),
            join_ids(pending.groups),
            join_ids(queues),
            join_ids(pending.sessions),
            pending.origins,
            pending.parts,
            pending.messages,
            pending.columns,
            self._lane,
        )
        first = queues[0] if queues else pending.columns[0].partition(b"\0")[0]
        self._ready.append(Output(self._topic, target, first, value, "Routed"))
