"""Packs the changes and deliveries for each partition of queue-events into few Routed records.

Knows the format of Routed, not why its entries are made.
"""

from __future__ import annotations

from typing import Final

from streams.events.codec import encode_routed, join_ids
from streams.fold import Output
from streams.folds.counts import Counts

SEQS_PER_RECORD: Final = 4096
"""Deliveries in one Routed at most: a delivery's seq is offset * this + its index, from 1."""
QUEUES_PER_ENTRY: Final = 500
"""Queues in one entry of a large group's message; the message is split into such parts."""
SLOW_LANE: Final = 1
"""The lane of messages to large groups; all else uses lane 0, in the order of the log."""
CHANGES_PER_RECORD: Final = 8192
BYTES_PER_RECORD: Final = 512 * 1024
"""A record is closed before it exceeds this size; a single entry may be larger."""

BOUND: Final = 1
UNBOUND: Final = 0


def limits() -> tuple[int, int, int]:
    """Return the limits of a record: bytes, changes and deliveries."""
    return BYTES_PER_RECORD, CHANGES_PER_RECORD, SEQS_PER_RECORD


class _OpenRecord:
    """The columns of a Routed record that is being packed."""

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
        self.offsets: list[int] = []  # of changes, like the next four
        self.kinds = bytearray()
        self.groups: list[bytes] = []
        self.queues: list[bytes] = []
        self.sessions: list[bytes] = []
        self.entries = 0  # queues in all deliveries
        self.origins: list[int] = []  # of deliveries, like the next three
        self.parts: list[int] = []
        self.messages: list[bytes] = []
        self.columns: list[bytes] = []


class Packer:
    """Collects entries for each target partition; finished records go to `ready` in order."""

    def __init__(
        self,
        topic: str,
        source: int,
        ready: list[Output],
        counts: Counts,
        log: int,
        lane: int = 0,
    ) -> None:
        self._log = log
        self._lane = lane
        self._counts = counts
        self._topic = topic
        self._source = source
        self._ready = ready
        self._pending: dict[int, _OpenRecord] = {}

    def change(
        self, target: int, offset: int, kind: int, group: bytes, queue: bytes, session: bytes
    ) -> None:
        """Add a binding that the record at `offset` made or dropped."""
        size = len(group) + len(queue) + len(session)
        pending = self._pending.get(target)
        if pending is None:
            pending = self._pending[target] = _OpenRecord()
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
        """Add a message for `count` queues; `column` is their ids, joined by `join_ids`."""
        size = len(message) + len(column) + count + 16
        pending = self._pending.get(target)
        if pending is None:
            pending = self._pending[target] = _OpenRecord()
        elif pending.size + size > BYTES_PER_RECORD or pending.entries + count > SEQS_PER_RECORD:
            pending = self._renew(target, pending)
        pending.size += size
        pending.entries += count
        pending.origins.append(offset)
        pending.parts.append(part)
        pending.messages.append(message)
        pending.columns.append(column)

    def flush(self) -> None:
        """Close all open records, in order of their partitions."""
        for target in sorted(self._pending):
            self._close(target, self._pending[target])
        self._pending.clear()

    def flush_one(self, target: int) -> None:
        """Close the open record of one partition."""
        self._close(target, self._pending.pop(target))

    def _renew(self, target: int, full: _OpenRecord) -> _OpenRecord:
        self._close(target, full)
        fresh = self._pending[target] = _OpenRecord()
        return fresh

    def _close(self, target: int, pending: _OpenRecord) -> None:
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
            self._log,
        )
        first = queues[0] if queues else pending.columns[0].partition(b"\0")[0]
        self._ready.append(Output(self._topic, target, first, value, "Routed"))
