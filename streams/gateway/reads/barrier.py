"""Reads that need the rows of exactly the partition's position.

While a chunk is being folded, rows are ahead of the position, so such reads run between two
chunks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from streams.errors import Unavailable
from streams.gateway.ports import Partition

T = TypeVar("T")

WAIT_SECONDS = 10.0


class Barrier:
    """Reads that wait for the end of a chunk, by partition."""

    def __init__(self) -> None:
        self._calls: dict[int, list[tuple[Callable[[], Any], asyncio.Future[Any]]]] = {}

    async def call(self, partition: Partition, read: Callable[[], T]) -> T:
        """Call `read` between two chunks of the partition, and return its result.

        Raises:
            Unavailable: no chunk ended within `WAIT_SECONDS`, or the partition was lost.
        """
        if not partition.folding:
            return read()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.setdefault(id(partition), []).append((read, future))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await future
        except TimeoutError:
            raise Unavailable("the partition is folding a long chunk; try again") from None

    def reached(self, partition: Partition) -> None:
        """Run the waiting reads: the partition is between two chunks."""
        for read, future in self._calls.pop(id(partition), ()):
            if future.done():
                continue
            try:
                future.set_result(read())
            except Exception as error:
                future.set_exception(error)

    def lost(self, partition: Partition, reason: str) -> None:
        """End the waiting reads of a partition that is lost, and tell them the reason."""
        for _, future in self._calls.pop(id(partition), ()):
            if not future.done():
                future.set_exception(Unavailable(reason))
