"""Gives memory that connections no longer use back to the operating system.

The C library keeps freed memory for later: after a burst of large bodies or of connections, a
worker would stay as large as it was at the peak.  So large blocks are mapped one by one, and go
back as soon as they are freed; for what remains, the heap is trimmed when far less is in use.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import math
from collections.abc import Callable
from typing import Any, Final

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
FREED_BYTES: Final = 4 * 1024 * 1024
"""How much less must be in use than at the last peak."""
SETTLE_SECONDS: Final = 2.0
"""How long after a drop the memory is given back: connections end slowly."""
COLLECT_SECONDS: Final = 15.0
"""Time between two garbage collections, each of which holds up the worker for a moment."""
ROUNDS: Final = 3
"""How often memory is given back after a drop: timers keep some connections for a while."""
MAPPED_BYTES: Final = 1024 * 1024
"""Blocks of this size and more are mapped: the pages of responses.

glibc begins with 128 KiB but raises it to the largest block that was ever freed, up to 32 MiB; from
then on, the pages of many clients leave gaps in the heap.  A mapped block costs 0.6 ms a MiB, 20
times as much as one of the heap (measured on a virtual machine).  So what folds and Kafka's
client use all the time stays below."""
_M_MMAP_THRESHOLD: Final = -3


def map_large_blocks() -> None:
    """Let the C library map large blocks, whatever was freed before; nothing if it is not glibc."""
    mallopt: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)


async def give_back_memory(used: Callable[[], int]) -> None:
    """Watch how many bytes are in use; trim the heap when far fewer are than were.

    Runs until it is cancelled; returns at once where the C library cannot do it.
    """
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    clock = asyncio.get_running_loop().time
    peak, collected, due, rounds = 0, -COLLECT_SECONDS, math.inf, 0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = used()
        peak = max(peak, now)
        # Not while much is in use: it would soon be needed again.
        if peak - now >= FREED_BYTES and now <= peak // 2:
            peak, rounds = now, ROUNDS
            due = max(clock() + SETTLE_SECONDS, collected + COLLECT_SECONDS)
        if clock() >= due:
            # Connections of aiohttp end in circles that would live for a long time yet.
            gc.collect()
            await asyncio.to_thread(trim, 0)
            collected, rounds = clock(), rounds - 1
            due = collected + COLLECT_SECONDS if rounds else math.inf
            logger.debug("gave unused memory back; connections use %d bytes", now)
