"""Makes one consistent state of partitions that were read at different places of their logs.

The state is the one that a system would have that got exactly the records of clients before the
cut, and has come to rest since.  The cut is a place in each partition of both logs:

* `members` is read at its places.  Everything that route sent before them is in `queue-events`.
* `queues` is read somewhat earlier than its places, and rolled forward to them with the deliver
  fold.  What route sent because of records behind the cut is left out (`before_cut`).
* What deliver asked of route meanwhile may be folded in `members` or not.  It is folded now, and
  so is all that comes of it (`Rest`).  Origins and watermarks drop what was folded already, as
  they do after a crash.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from streams.events.codec import ROUTED_HEADER, encode_routed, join_ids, read, split_ids
from streams.fold import BadRecord, Fold, Output, Record

GAP: Final = 1 << 32
"""Offsets between the cut and those of the seqs that a copy gives: readers of the original may
have seen as many more records of a partition of queue-events when they go on with the copy."""

_OF_CHANGES = ("change_groups", "change_queues", "change_sessions")


def before_cut(value: bytes | None, cut: Sequence[int]) -> bytes | None:
    """Return a record of queue-events without what route sent because of records behind a cut.

    Args:
        value: any record.
        cut: for each partition of group-events, the offset of the first record behind the cut.

    Returns:
        the record, or what is left of it; None if nothing is left.  Other records, and broken
        ones, are returned as they are.
    """
    if value is None or not value.startswith(ROUTED_HEADER[:2]):
        return value
    try:
        name, values = read(value)
        if name != "Routed" or not 0 <= values["source"] < len(cut):
            return value
        return _before(value, values, cut[values["source"]])
    except BadRecord:
        return value  # the fold refuses it, too


def _before(value: bytes, values: dict[str, Any], cut: int) -> bytes | None:
    changes, deliveries = values["change_offsets"], values["delivery_offsets"]
    kept, sent = bisect_left(changes, cut), bisect_left(deliveries, cut)
    if kept == len(changes) and sent == len(deliveries):
        return value
    if not kept and not sent:
        return None
    groups, queues, sessions = (join_ids(split_ids(values[name])[:kept]) for name in _OF_CHANGES)
    return encode_routed(
        values["source"],
        changes[:kept],
        values["change_kinds"][:kept],
        groups,
        queues,
        sessions,
        deliveries[:sent],
        values["delivery_parts"][:sent],
        values["delivery_messages"][:sent],
        values["delivery_queues"][:sent],
        values["lane"],
        values["log"],
    )


def fold_now(fold: Fold, record: Record) -> list[Output]:
    """Fold one record to its end; return what comes out of it."""
    try:
        for _ in fold.apply(record) or ():
            pass
    except BadRecord:
        return []  # a dead letter
    while fold.work:
        for _ in fold.work.popleft():
            pass
    fold.flush()
    outputs, fold.ready[:] = list(fold.ready), []
    return outputs


class Cut:
    """Brings both tables to one state, in which nothing is in flight.

    Nothing is appended to a log: what the folds send is folded at offsets that no record has.
    """

    def __init__(
        self,
        routes: Sequence[Fold],
        delivers: Sequence[Fold],
        group_offsets: Sequence[int],
        queue_offsets: Sequence[int],
    ) -> None:
        """Prepare.

        Args:
            routes: the folds of `members`, by partition, at `group_offsets`.
            delivers: the folds of `queues`, by partition, at or before `queue_offsets`.
            group_offsets: the cut: the first offset of group-events behind it, by partition.
            queue_offsets: the same of queue-events.
        """
        self._routes, self._delivers = routes, delivers
        self._group_offsets, self._queue_offsets = group_offsets, queue_offsets
        self._sent: deque[Output] = deque()
        self.next_offsets = [offset + GAP for offset in queue_offsets]
        """For each partition of queue-events, an offset beyond all that seqs were made of."""

    def roll(self, partition: int, records: Iterable[Record]) -> int:
        """Fold the records of queue-events from where `queues` is to the cut; return how many."""
        fold = self._delivers[partition]
        count = 0
        for record in records:
            if record.offset >= self._queue_offsets[partition]:
                break
            count += 1
            value = before_cut(record.value, self._group_offsets)
            if value is not None or record.value is None:
                self._sent += fold_now(fold, record._replace(value=value))
        return count

    def come_to_rest(self, now: int) -> int:
        """Fold what was sent while rolling, and all that comes of it; return how many records.

        Args:
            now: time of these records (ms since the epoch).
        """
        group_offsets = list(self._group_offsets)
        count = 0
        while self._sent:
            _, partition, key, value, kind = self._sent.popleft()
            if kind == "Routed":
                fold, offsets = self._delivers[partition], self.next_offsets
            else:
                fold, offsets = self._routes[partition], group_offsets
            record = Record(partition, offsets[partition], now, key, value)
            offsets[partition] += 1
            self._sent += fold_now(fold, record)
            count += 1
        return count
