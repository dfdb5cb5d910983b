"""Tells whether offsets that have no records were deleted before they were folded.

A gap alone says nothing: the ends of transactions take offsets, and so do the records of those
that were aborted.  Records are lost only below the start of the log, so Kafka is asked for it,
while the folding goes on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from streams.engine.ports import Context
from streams.errors import Unavailable

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 1.0
"""Pause between two questions: each chunk of a producer with transactions may end with a gap."""


class Gaps:
    """The gaps of one source partition; used in the event loop."""

    def __init__(self, context: Context, source: tuple[str, int]) -> None:
        self._context = context
        self._source = source
        self._unasked: list[tuple[int, int]] = []
        self._task: asyncio.Task[None] | None = None

    def seen(self, begin: int, end: int) -> None:
        """Have it looked into that the offsets from `begin` to before `end` have no records."""
        self._unasked.append((begin, end))
        if self._task is None or self._task.done():
            self._task = self._context.loop.create_task(self._look())

    async def settled(self) -> None:
        """Return when every gap has been looked into."""
        if self._task is not None:
            await self._task

    async def _look(self) -> None:
        while self._unasked:
            gaps, self._unasked = self._unasked, []  # what is seen from here on is asked later
            topic, number = self._source
            try:
                start = await self._context.blocking(self._context.log_start, self._source)
            except (RuntimeError, Unavailable) as exc:  # RuntimeError: the worker is stopping
                logger.warning(
                    "%s/%d: Kafka does not tell whether offsets %d to %d were deleted before "
                    "they were folded: %s",
                    topic,
                    number,
                    gaps[0][0],
                    gaps[-1][1] - 1,
                    exc,
                )
                start = 0
            for begin, end in gaps:
                if start > begin:
                    logger.warning(
                        "%s/%d: offsets %d to %d were deleted before they were folded; check "
                        "the retention of the topic",
                        topic,
                        number,
                        begin,
                        min(start, end) - 1,
                    )
            await asyncio.sleep(PAUSE_SECONDS)
