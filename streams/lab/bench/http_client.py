"""A lean HTTP/1.1 client: it shares the machine with the system that it measures.

One request at a time per connection, only answers with a Content-Length, no redirects: enough
for requests to the owner of a partition.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from streams.errors import StreamsError

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


class UnexpectedStatus(StreamsError):
    """An answer with an unexpected status."""


class BenchConnection(asyncio.Protocol):
    """One connection to a worker, kept open."""

    def __init__(self, host: str) -> None:
        self._host = host.encode()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._wanted = -1
        """Bytes of the whole answer, once its head is there."""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, url: str) -> BenchConnection:
        """Connect to the worker at `url`."""
        place = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(place.netloc), place.hostname or "", place.port or 80
        )
        return connection

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a request and return the body of the answer.

        Raises:
            UnexpectedStatus: the status is not 2xx.
            ConnectionError: the connection broke.
        """
        if self._transport is None:
            raise ConnectionResetError("closed by the other side")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(
            b"%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (method.encode(), path.encode(), self._host, len(body), body)
        )
        status, content = await self._answer
        if not 200 <= status < 300:
            raise UnexpectedStatus(f"{method} {path} answered {status}: {content[:200]!r}")
        return content

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport (called by the event loop)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse received bytes (called by the event loop)."""
        self._buffer += data
        if self._wanted < 0:
            end = self._buffer.find(_END)
            if end < 0:
                return
            self._wanted = end + len(_END) + _content_length(bytes(self._buffer[:end]))
        if len(self._buffer) < self._wanted:
            return
        answer = bytes(self._buffer[: self._wanted])
        del self._buffer[: self._wanted]
        self._wanted = -1
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(answer[9:12]), answer.partition(_END)[2]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the pending request (called by the event loop)."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed by the other side"))


class ConnectionPool:
    """A pool of connections to one worker, one per concurrent request."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[BenchConnection] = []

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a request on an idle or a new connection; raises like `BenchConnection.ask`."""
        connection = None
        while self._idle and connection is None:
            idle = self._idle.pop()
            connection = idle if idle.is_open else None
        if connection is None:
            connection = await BenchConnection.open(self._url)
        content = await connection.ask(method, path, body)
        self._idle.append(connection)
        return content

    def close(self) -> None:
        """Close all idle connections."""
        for connection in self._idle:
            connection.close()


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(_LENGTH)
    if at < 0:
        if lowered[9:12] == b"204":
            return 0
        raise ValueError("an answer without Content-Length")
    return int(lowered[at + len(_LENGTH) :].partition(b"\r\n")[0])
