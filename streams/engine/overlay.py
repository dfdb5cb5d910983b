"""The rows of one table partition: an in-memory overlay over its database.

Writes go to the *live* layer.  A checkpoint freezes the live layer, writes it to the
changelog and to the database while a new live layer takes the writes that go on, and
drops it.  Reads see live over frozen over database.  Knows nothing of Kafka.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from typing import Protocol

Layer = dict[bytes, dict[bytes, bytes | None]]
"""bucket -> suffix -> value; None marks a row that is deleted below."""

SEPARATOR = b"\0"
_ABSENT: bytes = b"absent"  # compared by identity: never a row's value


class Reader(Protocol):
    """What the overlay needs of a database."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a raw key, or None."""
        ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with start <= key < end in ascending order, as of now."""
        ...


class LayeredRows:
    """Reads of a pile of layers over a database; a `streams.fold.Rows` without writes."""

    __slots__ = ("_below", "_frozen", "_live")

    def __init__(self, live: Layer, frozen: Layer | None, below: Reader) -> None:
        self._live = live
        self._frozen = frozen
        self._below = below

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        """Return the row's value, or None when there is no such row."""
        rows = self._live.get(bucket)
        if rows is not None:
            value = rows.get(suffix, _ABSENT)
            if value is not _ABSENT:
                return value
        if self._frozen is None:
            return self._below.get(bucket + b"\0" + suffix)
        return self._get_below(bucket, suffix)

    def _get_below(self, bucket: bytes, suffix: bytes) -> bytes | None:
        if self._frozen is not None:
            rows = self._frozen.get(bucket)
            if rows is not None:
                value = rows.get(suffix, _ABSENT)
                if value is not _ABSENT:
                    return value
        return self._below.get(bucket + SEPARATOR + suffix)

    def scan(self, bucket: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (suffix, value) of a bucket in ascending order; see `streams.fold.Rows`."""
        over = dict(self._frozen.get(bucket, ())) if self._frozen is not None else {}
        over.update(self._live.get(bucket, ()))
        if after is not None:
            over = {suffix: value for suffix, value in over.items() if suffix > after}
        prefix = bucket + SEPARATOR
        start = prefix if after is None else prefix + after + b"\0"
        cut = len(prefix)
        below = ((key[cut:], value) for key, value in self._below.scan(start, bucket + b"\x01"))
        if not over:
            return below
        return _overlaid(sorted(over.items()), over, below)

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) of every row of the partition in ascending order.

        With `after`, only raw keys strictly greater.  The rows are those of now.
        """
        over: dict[bytes, bytes | None] = {}
        for layer in (self._frozen, self._live):
            for bucket, rows in (layer or {}).items():
                prefix = bucket + SEPARATOR
                for suffix, value in rows.items():
                    over[prefix + suffix] = value
        if after is not None:
            over = {key: value for key, value in over.items() if key > after}
        # Keys that begin with NUL are the engine's own, not rows of the table.
        start = b"\x01" if after is None else after + b"\0"
        return _overlaid(sorted(over.items()), over, self._below.scan(start, b"\xff" * 8))


def _overlaid(
    over: list[tuple[bytes, bytes | None]],
    hidden: Mapping[bytes, bytes | None],
    below: Iterator[tuple[bytes, bytes]],
) -> Iterator[tuple[bytes, bytes]]:
    """Merge two sorted runs; rows of `over` hide rows of `below`, None hides and is not shown."""
    visible = ((key, value) for key, value in over if value is not None)
    uncovered = (row for row in below if row[0] not in hidden)
    return merge(visible, uncovered)


class OverlayRows(LayeredRows):
    """The rows that a fold writes; one per open table partition, used from one thread.

    `pending` counts the rows of the live layer and `pending_bytes` their keys and values:
    the partition bounds both by checkpointing.
    """

    __slots__ = ("pending", "pending_bytes")

    def __init__(self, below: Reader) -> None:
        super().__init__({}, None, below)
        self.pending = 0
        self.pending_bytes = 0

    def put(self, bucket: bytes, suffix: bytes, value: bytes) -> None:
        """Write the row, over whatever was there."""
        rows = self._live.get(bucket)
        if rows is None:
            self._live[bucket] = {suffix: value}
        else:
            known = suffix in rows
            rows[suffix] = value
            if known:
                return
        self.pending += 1
        self.pending_bytes += len(bucket) + len(suffix) + len(value)

    def put_many(self, rows: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Write rows (bucket, suffix, value), each over whatever was there."""
        live, size, count = self._live, 0, 0
        for bucket, suffix, value in rows:
            known = live.get(bucket)
            if known is None:
                live[bucket] = {suffix: value}
            elif suffix in known:
                known[suffix] = value
                continue
            else:
                known[suffix] = value
            count += 1
            size += len(bucket) + len(suffix) + len(value)
        self.pending += count
        self.pending_bytes += size

    def delete(self, bucket: bytes, suffix: bytes) -> None:
        """Remove the row, if it is there.

        A row that exists in the live layer alone vanishes without a trace, so that what
        is created and deleted between two checkpoints costs neither changelog nor disk.
        """
        rows = self._live.get(bucket)
        if rows is None:
            rows = self._live[bucket] = {}
        value = rows.get(suffix, _ABSENT)
        if value is None:
            return
        if value is _ABSENT:
            self.pending += 1
            self.pending_bytes += len(bucket) + len(suffix)
        elif self._get_below(bucket, suffix) is None:
            del rows[suffix]
            if not rows:
                del self._live[bucket]
            self.pending -= 1
            self.pending_bytes -= len(bucket) + len(suffix) + len(value)
            return
        rows[suffix] = None

    def freeze(self) -> Layer:
        """Set the live layer aside for a checkpoint and begin a new one.

        Returns the frozen layer, which must not be changed; it stays visible to reads
        until `thaw`.

        Raises:
            RuntimeError: the last frozen layer has not been thawed.
        """
        if self._frozen is not None:
            raise RuntimeError("a checkpoint of this partition is under way")
        self._frozen, self._live = self._live, {}
        self.pending = self.pending_bytes = 0
        return self._frozen

    def thaw(self) -> None:
        """Drop the frozen layer: its rows are in the database now."""
        self._frozen = None


def raw_rows(layer: Layer) -> list[tuple[bytes, bytes | None]]:
    """Return (raw key, value or None) of a layer's rows, in no order."""
    return [
        (bucket + b"\0" + suffix, value)
        for bucket, rows in layer.items()
        for suffix, value in rows.items()
    ]
