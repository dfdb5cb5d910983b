"""The benches' own HTTP client, against a server that answers as it is told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from streams.lab.bench.http_client import BenchConnection, ConnectionPool, UnexpectedStatus

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    # Its exit waits for all connections, from Python 3.12 on: tests close theirs.
    async with await asyncio.start_server(closing, "127.0.0.1", 0) as running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"


def answering(*answers: bytes) -> Serve:
    """Answer one request after the other, each answer in pieces of three bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            for start in range(0, len(answer), 3):
                writer.write(answer[start : start + 3])
                await writer.drain()
                await asyncio.sleep(0)
        await reader.read()

    return serve


OK = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\nCONTENT-LENGTH: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_answers_come_whole_and_one_after_the_other() -> None:
    async with server(answering(OK, EMPTY, OK)) as url:
        connection = await BenchConnection.open(url)
        assert await connection.ask("GET", "/a") == b"hello"
        assert await connection.ask("POST", "/b") == b""
        assert await connection.ask("GET", "/c") == b"hello"
        connection.close()


async def test_a_request_is_what_was_asked_for() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.extend([head, await reader.readexactly(3)])
        writer.write(EMPTY)
        await writer.drain()

    async with server(serve) as url:
        connection = await BenchConnection.open(url)
        await connection.ask("POST", "/v1/x", b"abc")
    first, host, length = seen[0].split(b"\r\n")[:3]
    assert first == b"POST /v1/x HTTP/1.1"
    assert host == b"Host: " + url.removeprefix("http://").encode()
    assert (length, seen[1]) == (b"Content-Length: 3", b"abc")


async def test_another_status_is_refused_with_its_text() -> None:
    async with server(answering(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nlate")) as url:
        connection = await BenchConnection.open(url)
        with pytest.raises(UnexpectedStatus, match=r"GET / answered 503.*late"):
            await connection.ask("GET", "/")
        connection.close()


async def test_a_broken_connection_ends_the_request() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with server(serve) as url:
        connection = await BenchConnection.open(url)
        with pytest.raises(ConnectionError):
            await connection.ask("GET", "/")
        assert not connection.is_open
        with pytest.raises(ConnectionError):
            await connection.ask("GET", "/")


async def test_a_pool_opens_as_many_connections_as_requests_run_at_once() -> None:
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await answering(OK, OK)(reader, writer)

    async with server(serve) as url:
        pool = ConnectionPool(url)
        both = await asyncio.gather(pool.ask("GET", "/1"), pool.ask("GET", "/2"))
        assert list(both) == [b"hello", b"hello"]
        assert await pool.ask("GET", "/3") == b"hello"
        assert opened == 2
        pool.close()


async def test_a_pool_replaces_a_connection_that_the_other_side_closed() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()

    async with server(serve) as url:
        pool = ConnectionPool(url)
        assert await pool.ask("GET", "/1") == b"hello"
        (connection,) = pool._idle
        deadline = time.monotonic() + 120
        while connection.is_open:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert await pool.ask("GET", "/2") == b"hello"
        pool.close()
