"""The one task that writes to a client's socket: replies first, then a page of deliveries."""

from __future__ import annotations

import asyncio
from typing import Final

from streams.gateway.streaming.pages import Pages
from streams.gateway.streaming.wire import Wire

MAX_REPLIES: Final = 1000
"""Unsent replies at which the client is no longer read from."""
MAX_REPLY_BYTES: Final = 64 * 1024
"""The same for their bytes."""


class StreamWriter:
    """Writes the replies and deliveries of one connection."""

    def __init__(self, wire: Wire, pages: Pages, to_write: asyncio.Event) -> None:
        self._wire = wire
        self._pages = pages
        self._to_write = to_write
        self._replies: list[bytes] = []
        self._reply_bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    def reply(self, frame: bytes) -> None:
        """Send a frame, after those before it."""
        self._replies.append(frame)
        self._reply_bytes += len(frame)
        self._to_write.set()
        if self._is_full:
            self._room.clear()

    @property
    def _is_full(self) -> bool:
        return len(self._replies) >= MAX_REPLIES or self._reply_bytes >= MAX_REPLY_BYTES

    @property
    def has_room(self) -> bool:
        """Whether fewer replies than the limits allow are unsent."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until fewer replies than the limits allow are unsent."""
        await self._room.wait()

    async def run(self) -> None:
        """Write until the socket is closed.

        Raises:
            ConnectionResetError: the client is gone, or does not read.
        """
        to_write = self._to_write
        while True:
            await to_write.wait()
            to_write.clear()
            while self._replies or self._pages:
                if self._wire.closed:
                    return
                frames, self._replies, self._reply_bytes = self._replies, [], 0
                self._pages.fill(frames)
                if frames:
                    await self._wire.send(frames)
                if not self._is_full:
                    self._room.set()
                # Sending to a client that reads fast never waits: let other tasks run.
                await asyncio.sleep(0)
