"""What a client is to be sent: replies first, then pages of deliveries, as fast as it reads."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

WRITE_SECONDS: Final = 60.0
"""How long a client may take to read the next piece."""
FULL_BYTES: Final = 256 * 1024
"""Unsent bytes at which the client is no longer read from."""


class Source(Protocol):
    """Where deliveries come from."""

    def __bool__(self) -> bool:
        """Tell whether there may be more."""
        ...

    def fill(self) -> None:
        """Send the next page."""
        ...


class Outbox:
    """The unsent bytes of one connection, and the task that writes them."""

    def __init__(
        self, writer: asyncio.StreamWriter, source: Source, to_write: asyncio.Event
    ) -> None:
        self._writer = writer
        self._source = source
        self._to_write = to_write
        self._unsent: list[bytes] = []
        self._bytes = 0
        self._ended = False
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    def send(self, data: bytes) -> None:
        """Send bytes after those before them; the client is gone if nothing writes any more."""
        if self._ended:
            return
        self._unsent.append(data)
        self._bytes += len(data)
        if self._bytes >= FULL_BYTES:
            self._room.clear()
        self._empty.clear()
        self._to_write.set()

    async def room(self) -> None:
        """Wait until little is unsent."""
        await self._room.wait()

    async def sent(self) -> None:
        """Wait until everything is on its way."""
        await self._empty.wait()

    def flush(self) -> None:
        """Write what is unsent, without waiting: the connection has ended."""
        if self._unsent and not self._writer.is_closing():
            self._writer.write(b"".join(self._unsent))
        self._unsent.clear()
        self._room.set()
        self._empty.set()

    def abort(self) -> None:
        """Disconnect the client at once."""
        self._writer.transport.abort()

    async def run(self) -> None:
        """Write until the task is cancelled.

        Raises:
            ConnectionError: the client is gone.
            TimeoutError: it does not read.
        """
        try:
            await self._write_all()
        finally:
            # Nobody may wait for room that will never be: the reader would keep the connection.
            self._ended = True
            self._room.set()
            self._empty.set()

    async def _write_all(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            while self._unsent or self._source:
                if self._bytes < FULL_BYTES:
                    self._source.fill()
                if self._unsent:
                    data, self._bytes = b"".join(self._unsent), 0
                    self._unsent.clear()
                    self._writer.write(data)
                    async with asyncio.timeout(WRITE_SECONDS):
                        await self._writer.drain()
                    if self._bytes < FULL_BYTES:
                        self._room.set()
                # Sending to a client that reads fast never waits: let other tasks run.
                await asyncio.sleep(0)
            self._empty.set()
