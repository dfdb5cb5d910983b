"""Counts the rows of a bucket of any size without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

from streams.fold import Rows

SLICE_ROWS = 2000
"""Rows counted at a time: a few milliseconds."""


class RowCounter:
    """Counts in slices: one slice of one count per turn of the event loop."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def count(self, rows: Rows, bucket: bytes, check: Callable[[], None]) -> int:
        """Return the number of rows of a bucket; `check` raises if they cannot be read now."""
        total = 0
        after: bytes | None = None
        while True:
            async with self._one_at_a_time:
                check()
                counted = 0
                for suffix, _ in islice(rows.scan(bucket, after), SLICE_ROWS):
                    counted += 1
                    after = suffix
                total += counted
                if counted < SLICE_ROWS:
                    return total
                await asyncio.sleep(0)
