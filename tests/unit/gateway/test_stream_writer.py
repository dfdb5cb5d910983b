"""Replies that wait for a slow client: few, and of few bytes."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import cast

import pytest

from streams.gateway.streaming import frames
from streams.gateway.streaming.pages import Pages
from streams.gateway.streaming.wire import Wire
from streams.gateway.streaming.writer import MAX_REPLIES, MAX_REPLY_BYTES, StreamWriter


@pytest.mark.parametrize(("size", "most"), [(1, MAX_REPLIES), (1000, MAX_REPLY_BYTES // 1000 + 1)])
async def test_a_client_is_not_read_from_while_many_replies_wait(size: int, most: int) -> None:
    writer = StreamWriter(cast(Wire, None), cast(Pages, None), asyncio.Event())
    for _ in range(most - 1):
        writer.reply(b"x" * size)
    assert writer.has_room
    writer.reply(b"x" * size)
    assert not writer.has_room


def test_a_frame_keeps_no_buffer_of_the_encoder() -> None:
    # Given many frames that wait, when their memory is counted
    tracemalloc.start()
    try:
        kept = [frames.frame("pong", "x" * 200) for _ in range(1000)]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # Then they cost little more than their bytes
    assert used < 2 * sum(len(one) for one in kept)
