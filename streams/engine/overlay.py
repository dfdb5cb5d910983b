"""The rows of one table partition: an in-memory overlay over its database.

Writes go to the *live* layer.  A checkpoint freezes it, saves it to changelog and database
while a new live layer takes further writes, and then drops it.  Reads look into the live
layer, the frozen layer and the database, in that order.  Knows nothing of Kafka.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from typing import Protocol

from streams.fold import BUCKET_SEPARATOR, Rows

Layer = dict[bytes, dict[bytes, bytes | None]]
"""bucket -> suffix -> value; None hides a row of the layers below."""

_AFTER_SEPARATOR = b"\x01"
_ABSENT: bytes = b"absent"  # compared by identity: never a row's value


class RowReader(Protocol):
    """What the overlay needs from a database."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a raw key, or None."""
        ...

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the values of raw keys."""
        ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with start <= key < end in ascending order, as of this call."""
        ...


class FrozenRows(Protocol):
    """The changed rows of one checkpoint; its methods are for a worker thread."""

    def __len__(self) -> int: ...

    def rows(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield (raw key, value or None) of all rows, in no particular order."""
        ...

    def dispose(self) -> None:
        """Free the rows: many take long."""
        ...


class ChangedRows(Rows, Protocol):
    """The rows that a fold writes, over those of the database; used from one thread.

    `OverlayRows` is one in Python, `streams.engine.native_rows.NativeRows` one in the native core.
    """

    @property
    def pending(self) -> int:
        """Rows of the live layer."""
        ...

    @property
    def pending_bytes(self) -> int:
        """Bytes of their keys and values."""
        ...

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) of every row of the partition in ascending order."""
        ...

    def freeze(self) -> FrozenRows:
        """Set the live layer aside for a checkpoint and start a new one."""
        ...

    def thaw(self) -> None:
        """Drop the frozen layer, whose rows are now in the database."""
        ...


class LayeredRows:
    """Reads through two layers and a database; a `streams.fold.Rows` without writes."""

    __slots__ = ("_below", "_frozen", "_live")

    def __init__(self, live: Layer, frozen: Layer | None, below: RowReader) -> None:
        self._live = live
        self._frozen = frozen
        self._below = below

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        """Return the row's value, or None if there is no such row."""
        rows = self._live.get(bucket)
        if rows is not None:
            value = rows.get(suffix, _ABSENT)
            if value is not _ABSENT:
                return value
        if self._frozen is None:
            return self._below.get(bucket + BUCKET_SEPARATOR + suffix)
        return self._get_below(bucket, suffix)

    def _get_below(self, bucket: bytes, suffix: bytes) -> bytes | None:
        if self._frozen is not None:
            rows = self._frozen.get(bucket)
            if rows is not None:
                value = rows.get(suffix, _ABSENT)
                if value is not _ABSENT:
                    return value
        return self._below.get(bucket + BUCKET_SEPARATOR + suffix)

    def scan(self, bucket: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (suffix, value) of a bucket in ascending order; see `streams.fold.Rows`."""
        over = dict(self._frozen.get(bucket, ())) if self._frozen is not None else {}
        over.update(self._live.get(bucket, ()))
        return scan_below(self._below, over, bucket, after)

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) of every row of the partition in ascending order.

        With `after`, only raw keys strictly greater.  Later writes are not seen.
        """
        over: dict[bytes, bytes | None] = {}
        for layer in (self._frozen, self._live):
            for bucket, rows in (layer or {}).items():
                prefix = bucket + BUCKET_SEPARATOR
                for suffix, value in rows.items():
                    over[prefix + suffix] = value
        return all_items(self._below, over, after)


def scan_below(
    below: RowReader, over: dict[bytes, bytes | None], bucket: bytes, after: bytes | None
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (suffix, value) of a bucket, with the rows `over` those of the database."""
    if after is not None:
        over = {suffix: value for suffix, value in over.items() if suffix > after}
    prefix = bucket + BUCKET_SEPARATOR
    start = prefix if after is None else _next_key(prefix + after)
    cut = len(prefix)
    stored = ((key[cut:], value) for key, value in below.scan(start, bucket + _AFTER_SEPARATOR))
    if not over:
        return stored
    return _overlaid(sorted(over.items()), over, stored)


def all_items(
    below: RowReader, over: dict[bytes, bytes | None], after: bytes | None
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (raw key, value) of all rows, with the rows `over` those of the database."""
    if after is not None:
        over = {key: value for key, value in over.items() if key > after}
    # Keys that begin with NUL belong to the engine; they are not rows of the table.
    start = _AFTER_SEPARATOR if after is None else _next_key(after)
    return _overlaid(sorted(over.items()), over, below.scan(start, b"\xff" * 8))


def _overlaid(
    over: list[tuple[bytes, bytes | None]],
    hidden: Mapping[bytes, bytes | None],
    below: Iterator[tuple[bytes, bytes]],
) -> Iterator[tuple[bytes, bytes]]:
    """Merge two sorted runs; rows of `over` hide those of `below`, and None is left out."""
    visible = ((key, value) for key, value in over if value is not None)
    uncovered = (row for row in below if row[0] not in hidden)
    return merge(visible, uncovered)


class OverlayRows(LayeredRows):
    """The rows that a fold writes; one per open table partition, used from one thread.

    `pending` counts the rows of the live layer, `pending_bytes` the bytes of their keys and
    values.  Checkpoints keep both within limits.
    """

    __slots__ = ("pending", "pending_bytes")

    def __init__(self, below: RowReader) -> None:
        super().__init__({}, None, below)
        self.pending = 0
        self.pending_bytes = 0

    def put(self, bucket: bytes, suffix: bytes, value: bytes) -> None:
        """Write a row, replacing any earlier value."""
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
        """Write rows (bucket, suffix, value), replacing any earlier values."""
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
        """Remove a row if it exists.

        A row that exists only in the live layer leaves no trace: rows created and deleted
        between two checkpoints cost neither changelog nor disk.
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

    def freeze(self) -> FrozenLayer:
        """Set the live layer aside for a checkpoint and start a new one.

        Returns:
            the frozen layer, which must not be changed; reads see it until `thaw`.

        Raises:
            RuntimeError: the last frozen layer has not been thawed.
        """
        if self._frozen is not None:
            raise RuntimeError("the previous checkpoint of this partition has not ended")
        self._frozen, self._live = self._live, {}
        self.pending = self.pending_bytes = 0
        return FrozenLayer(self._frozen)

    def thaw(self) -> None:
        """Drop the frozen layer, whose rows are now in the database."""
        self._frozen = None


def _next_key(key: bytes) -> bytes:
    return key + b"\0"


class FrozenLayer:
    """A layer that a checkpoint saves; it must not be changed."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def __len__(self) -> int:
        return sum(map(len, self._layer.values()))

    def rows(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield (raw key, value or None) of all rows, in no particular order."""
        separator = BUCKET_SEPARATOR
        return (
            (bucket + separator + suffix, value)
            for bucket, rows in self._layer.items()
            for suffix, value in rows.items()
        )

    def dispose(self) -> None:
        """Free the rows, some at a time: the interpreter is not held for long."""
        layer, self._layer = self._layer, {}
        while layer:
            layer.popitem()
