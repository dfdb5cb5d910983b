"""Reads along in queue-events, to find the record that holds the last of what is waited for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from streams.errors import Unavailable
from streams.events.codec import read
from streams.lab.bench.progress import Ends
from streams.operate.topic_log import TopicLog, as_record
from streams.settings import Settings

Count = Callable[[dict[str, Any]], int]
"""Tells how many of the entries that are waited for a Routed, given by its fields, has."""


def unbound(routed: dict[str, Any]) -> int:
    """Count the bindings that have ended."""
    kinds: bytes = routed["change_kinds"]
    return kinds.count(0)


def delivered(message: str) -> Count:
    """Return what counts the deliveries of the message with an id."""
    name = message.encode()

    def count(routed: dict[str, Any]) -> int:
        columns = zip(routed["delivery_messages"], routed["delivery_queues"], strict=True)
        return sum(queues.count(0) for content, queues in columns if name in content)

    return count


async def until_routed(
    settings: Settings, start: Ends, count: Count, wanted: int, seconds: float
) -> dict[int, int]:
    """Read queue-events from `start` until `wanted` entries have come; return the end offsets.

    It reads in a thread and leaves the event loop free. The end offset of a partition follows its
    last record with entries; `queues` must reach it.

    Raises:
        Unavailable: the entries have not come within `seconds`.
    """
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(
            _read_along, settings, start, count, wanted, seconds, given_up
        )
    finally:
        given_up.set()


def _read_along(
    settings: Settings,
    start: Ends,
    count: Count,
    wanted: int,
    seconds: float,
    given_up: threading.Event,
) -> dict[int, int]:
    ends: dict[int, int] = {}
    deadline: Final = time.monotonic() + seconds
    found = 0
    with TopicLog(settings) as log:
        for message in log.follow(settings.queue_events, start):
            if message is not None:
                record = as_record(message)
                name, values = read(record.value)
                if name == "Routed" and (here := count(values)):
                    found += here
                    ends[record.partition] = record.offset + 1
                if found >= wanted:
                    return ends
            if given_up.is_set() or time.monotonic() > deadline:
                break
    raise Unavailable(f"{found:,} of {wanted:,} entries came within {seconds:g} s")
