"""Rows in memory: for tests, and to build a table again from its log and compare.

The engine's rows, over RocksDB, have the same methods (`streams.fold.Rows`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class MemoryRows:
    """The rows of one table partition, in dicts; a scan sorts the bucket it goes through."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, dict[bytes, bytes]] = {}

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        """Return the row's value, or None when there is no such row."""
        rows = self._buckets.get(bucket)
        return None if rows is None else rows.get(suffix)

    def put(self, bucket: bytes, suffix: bytes, value: bytes) -> None:
        """Write the row, over whatever was there."""
        rows = self._buckets.get(bucket)
        if rows is None:
            self._buckets[bucket] = {suffix: value}
        else:
            rows[suffix] = value

    def put_many(self, rows: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Write rows (bucket, suffix, value), each over whatever was there."""
        for row in rows:
            self.put(*row)

    def delete(self, bucket: bytes, suffix: bytes) -> None:
        """Remove the row, if it is there."""
        rows = self._buckets.get(bucket)
        if rows is not None:
            rows.pop(suffix, None)
            if not rows:
                del self._buckets[bucket]

    def scan(self, bucket: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (suffix, value) of a bucket in ascending order, as it is at this call."""
        ordered = sorted(self._buckets.get(bucket, {}).items())
        if after is None:
            return iter(ordered)
        first = bisect_right(ordered, after, key=lambda row: row[0])
        return iter(ordered[first:])

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) of all rows in ascending order of the raw key."""
        return iter(
            sorted(
                (bucket + b"\0" + suffix, value)
                for bucket, rows in self._buckets.items()
                for suffix, value in rows.items()
            )
        )

    def copy(self) -> MemoryRows:
        """Return rows of their own with the same content."""
        twin = MemoryRows()
        twin._buckets = {bucket: dict(rows) for bucket, rows in self._buckets.items()}
        return twin

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))
