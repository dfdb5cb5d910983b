"""Where the rows of a partition go when it is split: a pure function of its rows.

The modules of `streams.folds` describe the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from streams.fold import BUCKET_SEPARATOR
from streams.folds.delivery import is_plain, unpack
from streams.folds.row_keys import (
    AVAILABLE,
    BINDINGS,
    FOUNDATION,
    HELD,
    INBOX,
    MEMBERSHIPS,
    MESSAGE_IDS,
    PARTITIONS,
    PATTERNS,
    SESSION,
    SHARED_MESSAGES,
    SHARERS,
    TRANSIENT,
    split_row_key,
)
from streams.folds.tables import QUEUES
from streams.kafka.partitioner import partition_of

_NOT_SPLIT: Final = FOUNDATION + PARTITIONS
_OF_ALL: Final = frozenset({"log time", "level", "watermark", "second watermark", "closed lately"})
"""Rows of the partition as a whole; all parts begin with a copy.

What was sent to the partition up to its watermarks was for one of the parts, and is folded."""

_OWNED: Final = b"".join(
    (MEMBERSHIPS, MESSAGE_IDS, PATTERNS, BINDINGS, INBOX, TRANSIENT, HELD, AVAILABLE, SESSION)
)
"""First bytes of buckets that name their owner: nearly all rows."""
_WITH_QUEUE: Final = MEMBERSHIPS + PATTERNS
"""First bytes of buckets with rows that begin with the number of a queue's partition."""

Row = tuple[bytes, bytes]
"""Raw key and value."""
Place = tuple[int, bytes]
"""Partition, and the value that the row has there."""


class Split:
    """The split of one table partition."""

    def __init__(self, table: str, partition: int, former: int, partitions: int) -> None:
        """Prepare.

        Args:
            table: its name.
            partition: the number of the partition.
            former: how many there are.
            partitions: how many there will be: a multiple of `former`.
        """
        self.parts = range(partition, partitions, former)
        """The partitions that it becomes; the first has its number."""
        self._table = table
        self._has_inboxes = table == QUEUES
        self._partitions = partitions
        self._sharers: dict[bytes, dict[int, int]] = {}

    def places(self, rows: Iterable[Row]) -> Iterator[tuple[bytes, bytes, list[Place]]]:
        """Yield key and value of each row, and its places; none if it goes nowhere.

        Args:
            rows: all rows (raw key, value), in ascending order of their keys.
        """
        # Deliveries come before the messages that they share.
        for key, value in rows:
            first = key[:1]
            if self._has_inboxes and first in (INBOX, HELD) and not is_plain(value):
                self._note_shared(key, value)
            if self._has_inboxes and first in (SHARED_MESSAGES, SHARERS):
                yield key, value, self._shared(key, value)
            elif first not in _NOT_SPLIT:
                yield key, value, self._place(key, value)

    def _place(self, key: bytes, value: bytes) -> list[Place]:
        if key[0] in _OWNED:
            bucket, _, suffix = key.partition(BUCKET_SEPARATOR)
            if key[0] in _WITH_QUEUE:
                queue = suffix.partition(b"\0")[0]
                value = self._of(queue).to_bytes(2, "big") + value[2:]
            return [(self._of(bucket[1:]), value)]
        name = split_row_key(self._table, key)
        if name.kind in _OF_ALL:
            return [(part, value) for part in self.parts]
        return [(self._of(name.owner.encode()), value)]

    def _of(self, owner: bytes) -> int:
        return partition_of(owner, self._partitions)

    def _note_shared(self, key: bytes, value: bytes) -> None:
        shared = unpack(value).shared
        if shared:
            counts = self._sharers.setdefault(shared, defaultdict(int))
            counts[self._of(key[1:-9])] += 1

    def _shared(self, key: bytes, value: bytes) -> list[Place]:
        """Place a shared message, or how many deliveries share it, wherever there are some."""
        counts = self._sharers.get(key[2:], {})
        if key.startswith(SHARERS):
            return [(part, count.to_bytes(4, "big")) for part, count in counts.items()]
        return [(part, value) for part in counts]
