"""The rows of one table partition in the native core: what `OverlayRows` is in Python."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from ctypes import byref, c_int64
from typing import Any

from streams.engine.overlay import (
    ChangedRows,
    OverlayRows,
    RowReader,
    all_items,
    scan_below,
)
from streams.fold import BUCKET_SEPARATOR
from streams.native import Library
from streams.native.library import UNKNOWN

_ROWS_PER_READ = 2_000
_ABSENT, _PRESENT = 1, 2


def open_rows(below: RowReader, library: Library | None) -> ChangedRows:
    """Return the overlay over a database, the core's if there is one."""
    return OverlayRows(below) if library is None else NativeRows(below, library)


class NativeLayer:
    """A frozen layer in the core (`streams.engine.overlay.FrozenRows`)."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library = library
        self._handle = handle
        self._release = weakref.finalize(self, library.free.layer_release, handle)
        self._release.atexit = False

    def __len__(self) -> int:
        return int(self._library.held.layer_count(self._handle))

    def rows(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield (raw key, value or None) of all rows, in order: RocksDB takes them faster so."""
        self._library.free.layer_sort(self._handle)
        return _layer_rows(self._library.held.layer_read_sorted, self._handle)

    def produce(self, topic: int, partition: int, following: c_int64) -> int:
        """Queue rows to Kafka from the index `following` on, which it advances.

        The interpreter is released.  One of the layer's methods may run at a time.

        Args:
            topic: from `streams.native.kafka.SharedClient.topic`.

        Returns:
            librdkafka's error for the row at `following`; 0 if all are queued.
        """
        core = self._library.free
        core.layer_sort(self._handle)
        return int(core.layer_produce(self._handle, topic, partition, byref(following)))

    def dispose(self) -> None:
        """Free the rows, with the interpreter released."""
        self._release()


def _layer_rows(read: Any, handle: int) -> Iterator[tuple[bytes, bytes | None]]:
    cursor = c_int64()
    while cursor.value >= 0:
        yield from read(handle, byref(cursor), _ROWS_PER_READ)


class NativeRows:
    """The rows that a fold writes (`streams.engine.overlay.ChangedRows`); used from one thread."""

    def __init__(self, below: RowReader, library: Library) -> None:
        core = library.held
        self.library = library
        self.handle: int = core.rows_new()
        weakref.finalize(self, library.free.rows_free, self.handle).atexit = False
        self.read_many = below.get_many
        self._read = below.get
        self._below = below
        self._frozen = False
        self._get, self._put, self._delete = core.rows_get, core.rows_put, core.rows_delete
        self._counts = (c_int64 * 2).from_address(core.rows_pending(self.handle))

    @property
    def pending(self) -> int:
        """Rows of the live layer."""
        return self._counts[0]

    @property
    def pending_bytes(self) -> int:
        """Bytes of their keys and values."""
        return self._counts[1]

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        """Return the row's value, or None if there is no such row."""
        value: bytes | None = self._get(self.handle, bucket, len(bucket), suffix, len(suffix))
        if value is UNKNOWN:
            return self._read(bucket + BUCKET_SEPARATOR + suffix)
        return value

    def put(self, bucket: bytes, suffix: bytes, value: bytes) -> None:
        """Write a row, replacing any earlier value."""
        self._put(self.handle, bucket, len(bucket), suffix, len(suffix), value, len(value))

    def put_many(self, rows: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Write rows (bucket, suffix, value), replacing any earlier values."""
        put, handle = self._put, self.handle
        for bucket, suffix, value in rows:
            put(handle, bucket, len(bucket), suffix, len(suffix), value, len(value))

    def delete(self, bucket: bytes, suffix: bytes) -> None:
        """Remove a row if it exists; see `OverlayRows.delete`."""
        row = self.handle, bucket, len(bucket), suffix, len(suffix)
        if not self._delete(*row, 0):
            stored = self._read(bucket + BUCKET_SEPARATOR + suffix)
            self._delete(*row, _ABSENT if stored is None else _PRESENT)

    def scan(self, bucket: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (suffix, value) of a bucket in ascending order; see `streams.fold.Rows`."""
        found = self.library.held.rows_scan(self.handle, bucket, len(bucket))
        return scan_below(self._below, dict(found), bucket, after)

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) of every row of the partition in ascending order.

        With `after`, only raw keys strictly greater.  Later writes are not seen.
        """
        over: dict[bytes, bytes | None] = {}
        core = self.library.held
        for layer in (core.rows_frozen(self.handle), core.rows_live(self.handle)):
            if layer is not None:
                over.update(_layer_rows(core.layer_read, layer))
        return all_items(self._below, over, after)

    def freeze(self) -> NativeLayer:
        """Set the live layer aside for a checkpoint and start a new one.

        Returns:
            the frozen layer; reads see it until `thaw`.

        Raises:
            RuntimeError: the last frozen layer has not been thawed.
        """
        if self._frozen:
            raise RuntimeError("the previous checkpoint of this partition has not ended")
        self._frozen = True
        return NativeLayer(self.library, self.library.held.rows_freeze(self.handle))

    def thaw(self) -> None:
        """Drop the frozen layer, whose rows are now in the database."""
        self._frozen = False
        self.library.held.rows_thaw(self.handle)
