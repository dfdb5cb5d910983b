"""RowCounter the rows of a bucket, however many, without holding up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

from streams.fold import Rows

SLICE_ROWS = 2000
"""Rows counted in one go: a few milliseconds."""


class RowCounter:
    """Counts in slices, one slice of one count in each turn of the event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def count(self, rows: Rows, bucket: bytes, check: Callable[[], None]) -> int:
        """Return how many rows the bucket has; `check` raises when rows may not be read now."""
        total = 0
        after: bytes | None = None
        while True:
            async with self._turn:
                check()
                counted = 0
                for suffix, _ in islice(rows.scan(bucket, after), SLICE_ROWS):
                    counted += 1
                    after = suffix
                total += counted
                if counted < SLICE_ROWS:
                    return total
                await asyncio.sleep(0)
