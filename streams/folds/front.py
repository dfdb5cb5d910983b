"""The first rows of an ordered bucket, cached in memory.

A scan costs time for every row of the bucket that is not in a checkpoint yet.  Code that
takes rows from the front again and again (due timers, available jobs, the oldest delivery of a
full queue) reads them here instead.  The cache never differs from what a scan would return.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import Final

from streams.fold import Rows

SIZE: Final = 512
"""Rows that one scan reads."""


class Front:
    """A bucket; all its rows must be written and deleted through this object."""

    __slots__ = ("_bucket", "_keys", "_rows", "_whole")

    def __init__(self, rows: Rows, bucket: bytes) -> None:
        self._rows = rows
        self._bucket = bucket
        self._keys: list[bytes] = []  # the lowest suffixes, ascending, none missing
        self._whole = False  # whether the bucket has no others

    def first(self) -> bytes | None:
        """Return the lowest suffix; None when the bucket is empty."""
        if not self._keys and not self._whole:
            self._keys = [suffix for suffix, _ in islice(self._rows.scan(self._bucket), SIZE + 1)]
            self._whole = len(self._keys) <= SIZE
        return self._keys[0] if self._keys else None

    def put(self, suffix: bytes, value: bytes = b"") -> None:
        """Write a row."""
        self._rows.put(self._bucket, suffix, value)
        keys = self._keys
        if self._whole or (keys and suffix < keys[-1]):
            place = bisect_left(keys, suffix)
            if place == len(keys) or keys[place] != suffix:
                keys.insert(place, suffix)
                if len(keys) > 2 * SIZE:
                    del keys[SIZE:]
                    self._whole = False

    def delete(self, suffix: bytes) -> None:
        """Remove a row, if it is there."""
        self._rows.delete(self._bucket, suffix)
        keys = self._keys
        place = bisect_left(keys, suffix)
        if place < len(keys) and keys[place] == suffix:
            del keys[place]
