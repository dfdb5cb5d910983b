"""Measures how late the event loop is: a task sleeps a tenth of a second, over and over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

EVERY_SECONDS = 0.1


async def watch_loop(observe: Callable[[float], None]) -> None:
    """Call `observe` with each delay in seconds, forever."""
    while True:
        due = time.monotonic() + EVERY_SECONDS
        await asyncio.sleep(EVERY_SECONDS)
        observe(max(0.0, time.monotonic() - due))
