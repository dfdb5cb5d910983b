"""What a client is sent, and what happens when it does not read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.gateway.amqp import outbox as outbox_module
from streams.gateway.amqp.outbox import FULL_BYTES, Outbox


class Writer:
    """A stream to a client that reads once it is allowed to."""

    def __init__(self) -> None:
        self.written = b""
        self.reads = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        await self.reads.wait()


class Nothing:
    """A source without deliveries."""

    def __bool__(self) -> bool:
        return False

    def fill(self) -> None:
        raise AssertionError


def outbox(writer: Any) -> Outbox:
    return Outbox(writer, Nothing(), asyncio.Event())


async def test_bytes_are_written_in_order_and_there_is_room_once_they_are_read() -> None:
    writer = Writer()
    box = outbox(writer)
    task = asyncio.create_task(box.run())
    box.send(b"a")
    box.send(b"b" * FULL_BYTES)
    waits = asyncio.create_task(box.room())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waits.done()
    writer.reads.set()
    async with asyncio.timeout(120):
        await waits
        await box.sent()
    assert writer.written == b"a" + b"b" * FULL_BYTES
    task.cancel()


async def test_nobody_waits_for_a_client_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "WRITE_SECONDS", 0.01)
    box = outbox(Writer())
    task = asyncio.create_task(box.run())
    box.send(b"b" * FULL_BYTES)
    with pytest.raises(TimeoutError):
        await task
    box.send(b"b" * FULL_BYTES)  # later frames are dropped, and take no room
    async with asyncio.timeout(120):
        await box.room()
        await box.sent()
