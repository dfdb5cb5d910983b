"""Measures how late the event loop is: a task sleeps a tenth of a second, over and over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

EVERY_SECONDS = 0.1


async def watch_loop(observe: Callable[[float], None], pause: Callable[[float], float]) -> None:
    """Call `observe` with each delay in seconds, forever; `pause` may lengthen the sleep."""
    while True:
        seconds = pause(EVERY_SECONDS)
        due = time.monotonic() + seconds
        await asyncio.sleep(seconds)
        observe(max(0.0, time.monotonic() - due))
