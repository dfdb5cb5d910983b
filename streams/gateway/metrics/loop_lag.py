"""How late the event loop is: what keeps it busy keeps everybody waiting.

A sleeper that should wake ten times a second, and says by how much it was late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

EVERY_SECONDS = 0.1


async def watch_loop(observe: Callable[[float], None]) -> None:
    """Tell `observe` each lateness in seconds, for ever."""
    while True:
        due = time.monotonic() + EVERY_SECONDS
        await asyncio.sleep(EVERY_SECONDS)
        observe(max(0.0, time.monotonic() - due))
