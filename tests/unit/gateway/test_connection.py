"""Connections: their limits, input that is not HTTP, and what they use of aiohttp."""

from __future__ import annotations

import asyncio
import inspect
import re
import ssl
import time
from collections.abc import AsyncIterator

import pytest
import trustme
from aiohttp import web

from streams.gateway.http import bodies
from streams.gateway.http.bodies import read_body
from streams.gateway.http.connection import (
    COMMON_HEADERS,
    HEAD_SECONDS,
    MAX_HEAD_LINE,
    READ_BYTES,
    HTTPConnection,
)
from streams.gateway.http.errors import HTTPError
from streams.gateway.http.receiving import MAX_HEAD_BYTES
from streams.gateway.http.responses import error_response
from streams.gateway.http.server import Server, listen
from streams.gateway.streaming.wire import Socket
from streams.gateway.writes.admission import Admission, Share

IDLE_SECONDS = 0.5
PATIENCE = 120
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    try:
        with Share(Admission(10_000_000)) as share:
            body = await read_body(request, 1000, share)
    except HTTPError as refusal:
        return error_response(refusal)
    return web.Response(text=f"{len(body)} bytes")


@pytest.fixture
def idle_seconds() -> float:
    """How long a connection may be idle; tests of something else are not to meet it."""
    return 3600.0


@pytest.fixture
async def port(idle_seconds: float) -> AsyncIterator[int]:
    """Port of a server of at most three connections."""
    server = Server(
        _answer,
        3,
        budget=Admission(10_000_000),
        keepalive_timeout=idle_seconds,
        max_line_size=MAX_HEAD_LINE,
        max_field_size=MAX_HEAD_LINE,
        lingering_time=5.0,
    )
    listener = await listen(server, "127.0.0.1", 0, None)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await server.shutdown(1.0)


async def head_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await reader.readuntil(b"\r\n\r\n")


def has_headers_of_all(head: bytes) -> bool:
    """Tell whether a head has the headers of every response, whoever made it."""
    wanted = (f"{name}: {value}\r\n".encode() for name, value in COMMON_HEADERS.items())
    return all(line in head for line in wanted)


async def test_a_connection_over_the_limit_gets_a_503(port: int) -> None:
    # Given as many connections as are let in
    kept = []
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        kept.append((reader, writer))
    await asyncio.sleep(0.1)

    # When there is another one
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    # Then it is told to come again, and closed
    head = await head_of(reader)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert has_headers_of_all(head)
    assert b"Retry-After: 1\r\n" in head
    body = await reader.read()
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    writer.close()

    # And the others are served, and make room when they go
    for reader, writer in kept:
        writer.write(b"hello")
        assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
        writer.close()
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize("idle_seconds", [IDLE_SECONDS])
@pytest.mark.parametrize("before", [b"", REQUEST])
@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX: 1"])
async def test_a_silent_connection_is_closed(port: int, before: bytes, begun: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if before:
        writer.write(before)
        await head_of(reader)

    writer.write(begun)

    async with asyncio.timeout(PATIENCE):
        await reader.read()
    writer.close()


async def test_a_body_that_comes_too_slowly(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    for letter in b"hel":
        writer.write(bytes([letter]))
        await asyncio.sleep(0.15)
    assert (await head_of(reader)).startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n", b"", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"3E9\r\n" + b"x" * 1001, b"413"),
        (b"GET /" + b"x" * MAX_HEAD_LINE + b" HTTP/1.1\r\n", b"", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_LINE + 1) + b"\r\n", b"", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 1000, b"", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n", b"x", b"400"),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            b"0\r\n\r\n",
            b"400",
        ),
    ],
)
async def test_oversized_and_ambiguous_requests_are_refused(
    port: int, head: bytes, body: bytes, status: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"Host: x\r\n\r\n" + body)
    answer = await head_of(reader)
    assert answer.split(b" ")[1] == status
    assert has_headers_of_all(answer) or status == b"413"  # which a handler sends
    writer.close()


@pytest.mark.parametrize("before", [b"", REQUEST])
async def test_a_head_over_its_limit_is_refused_while_it_arrives(port: int, before: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if before:
        writer.write(before)
        await head_of(reader)
        await reader.readexactly(7)

    # Headers that are each within their limit, without an end
    writer.write(b"GET / HTTP/1.1\r\n")
    for number in range(MAX_HEAD_BYTES // 4000 + 2):
        writer.write(b"X-%d: %b\r\n" % (number, b"x" * 4000))

    head = await head_of(reader)
    assert head.startswith(b"HTTP/1.1 431 ")
    assert has_headers_of_all(head)
    async with asyncio.timeout(PATIENCE):
        body = await reader.read()
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    writer.close()


async def test_a_long_body_is_no_head(port: int) -> None:
    # Given requests of which the second begins in the same packet as the end of a body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n" + b"x" * 900
    for _ in range(5):
        writer.write(post * 60)
        for _ in range(60):
            assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(9)
    writer.close()


async def test_the_rest_of_a_refused_body_is_no_head(port: int) -> None:
    # Given a request that is refused before its body has arrived
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    size = 2 * MAX_HEAD_BYTES
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    head = await head_of(reader)
    assert head.startswith(b"HTTP/1.1 413 ")
    await reader.readexactly(int(re.findall(rb"Content-Length: (\d+)", head)[0]))

    # When the body comes, and a while later another request
    writer.write(b"x" * size)
    await asyncio.sleep(1.5 * HEAD_SECONDS)
    writer.write(REQUEST)

    # Then that is answered
    assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def _until_waiting(server: Server, count: int) -> None:
    """Wait until so many connections have shown no token."""
    deadline = time.monotonic() + PATIENCE
    while len(server.unauthenticated) != count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_handshakes_of_tls_are_bounded() -> None:
    # Given a server with room for four connections, half of them without a token
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = Server(_answer, 4, budget=Admission(1000), authenticates=True)
    listener = await listen(server, "127.0.0.1", 0, context)
    port = listener.sockets[0].getsockname()[1]

    # When that many stop in the middle of a handshake
    half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for _, writer in half:
        writer.write(b"\x16\x03\x01\x02\x00")
    await _until_waiting(server, 2)

    # Then another one is refused
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    # until there is room, in which it is served
    half[0][1].close()
    await _until_waiting(server, 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    writer.write(REQUEST)
    assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
    assert len(server.unauthenticated) == 2
    writer.close()
    half[1][1].close()
    await _until_waiting(server, 0)
    listener.close()
    await server.shutdown(1.0)


def private_names(kind: type) -> set[str]:
    """Return the private attributes that the methods of a class name, without its bases."""
    return set(re.findall(r"self\.(_[a-z]\w*)", inspect.getsource(kind)))


@pytest.mark.parametrize("ours", [HTTPConnection, Server, Socket])
def test_no_private_name_of_aiohttp_is_used_or_hidden(ours: type) -> None:
    theirs = {
        name
        for base in ours.__mro__[1:]
        if base.__module__.startswith("aiohttp")
        for name in private_names(base) | set(vars(base))
        if name.startswith("_") and not name.startswith("__")
    }
    assert len(theirs) > 3

    own = {name for name in vars(ours) if name.startswith("_") and name != "_abc_impl"}
    assert not (own | private_names(ours)) & theirs


async def test_requests_behind_one_that_is_served_wait_and_are_answered_in_order() -> None:
    # Given a request that takes long
    go, begun, protocols = asyncio.Event(), asyncio.Event(), list[HTTPConnection]()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slow":
            assert isinstance(request.protocol, HTTPConnection)
            protocols.append(request.protocol)
            begun.set()
            await go.wait()
        body = await request.read()
        return web.Response(text=f"{request.path} {len(body)}")

    server = Server(answer, 3, budget=Admission(10_000_000), max_field_size=MAX_HEAD_LINE)
    listener = await listen(server, "127.0.0.1", 0, None)
    try:
        async with asyncio.timeout(120):
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()

            # When many others and their bodies come behind it
            many = 400
            for number in range(many):
                head = f"POST /{number} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
                writer.write(head.encode() + b"x" * 5000)

            # Then some wait in the worker, the rest in the socket
            transport = protocols[0].transport
            assert transport is not None
            while transport.is_reading():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert MAX_HEAD_BYTES <= len(protocols[0]._waiting) < 2 * MAX_HEAD_BYTES + READ_BYTES

            # and all are answered
            go.set()
            for path in ["/slow 0", *(f"/{number} 5000" for number in range(many))]:
                assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
                assert await reader.readexactly(len(path)) == path.encode()
            writer.close()
    finally:
        listener.close()
        await server.shutdown(1.0)
