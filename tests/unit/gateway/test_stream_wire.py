"""Frames on their way out: their bytes, and arrays of them."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from streams.gateway.http.connection import HTTPConnection
from streams.gateway.http.receiving import MESSAGES_AHEAD
from streams.gateway.http.server import Server, listen
from streams.gateway.streaming.wire import ARRAY_BYTES, Socket, Wire, arrays, framed
from streams.gateway.writes.admission import Admission


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_is_framed_by_its_length(size: int, head: bytes) -> None:
    assert framed([b"x" * size]) == head + b"x" * size


def test_many_frames_are_one_piece_of_bytes() -> None:
    assert framed([b"one", b"two"]) == b"\x81\x03one\x81\x03two"


def test_arrays_hold_all_frames_in_order_and_are_not_long() -> None:
    frames = [json.dumps({"n": number, "body": "x" * 40_000}).encode() for number in range(20)]

    found = list(arrays(frames))

    assert [frame["n"] for array in found for frame in json.loads(array)] == list(range(20))
    assert len(found) > 1
    assert all(len(array) < ARRAY_BYTES + 50_000 for array in found)
    assert list(arrays([])) == []


PATIENCE = 120
TEXTS = ["short", "medium" * 50, "long" * 20_000]

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


async def _send_all(request: web.BaseRequest) -> web.StreamResponse:
    """Send each text by aiohttp and by `Wire`, then close."""
    socket = Socket(compress=request.path == "/compressed")
    await socket.prepare(request)
    try:
        wire = Wire(socket, request, batch=False)
    except ValueError as error:
        await socket.send_str(f"refused: {error}")
        await socket.close()
        return socket
    for text in TEXTS:
        await socket.send_str(text)
        await wire.send([text.encode()])
        await socket.ping(b"p")
    await socket.close(code=1000)
    return socket


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Port of a server that runs `_send_all`."""
    server = Server(_send_all, 10, budget=Admission(1_000_000))
    listener = await listen(server, "127.0.0.1", 0, None)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await server.shutdown(1.0)


async def test_frames_are_the_same_bytes_that_aiohttp_writes(port: int) -> None:
    # Given a client that offers compression
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")

        # When it is sent texts by both writers in turn
        expected = b"".join(framed([text.encode()] * 2) + b"\x89\x01p" for text in TEXTS)
        sent = await reader.readexactly(len(expected))

    # Then the offer is not taken up, and nobody can tell which of them wrote what
    assert b"extensions" not in head.lower()
    assert sent == expected
    writer.close()


async def test_a_client_reads_what_both_writers_send(port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as socket:
        got = [message.data async for message in socket]
    assert got == [text for text in TEXTS for _ in range(2)]


async def test_a_compressed_socket_is_refused(port: int) -> None:
    url = f"http://127.0.0.1:{port}/compressed"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as socket:
        assert socket.compress == 15
        assert "compressed" in await socket.receive_str()


async def test_a_socket_lets_go_of_half_a_frame_once_its_client_is_gone() -> None:
    # Given a socket with pings that are due much later, and a client in the middle of a frame
    sockets, ended = list[weakref.ref[Socket]](), asyncio.Event()

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        socket = Socket(compress=False, heartbeat=10_000.0)
        sockets.append(weakref.ref(socket))
        try:
            await socket.prepare(request)
            await socket.receive()
        finally:
            await socket.release()
            ended.set()
        return socket

    server = Server(serve, 10, budget=Admission(1_000_000), handler_cancellation=True)
    listener = await listen(server, "127.0.0.1", 0, None)
    try:
        async with asyncio.timeout(120):
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HANDSHAKE + b"\x81\xfe\xff\xff\0\0\0\0" + b"x" * 30_000)
            await reader.readuntil(b"\r\n\r\n")
            # When the client disappears
            writer.transport.abort()
            await ended.wait()

            # Then nothing keeps the socket
            while sockets[0]() is not None:
                await asyncio.sleep(0.05)
                gc.collect()
    finally:
        listener.close()
        await server.shutdown(1.0)


@pytest.mark.parametrize("opcode", [0x89, 0x8A])
async def test_pings_and_pongs_are_done_once_they_are_read(opcode: int) -> None:
    # Given a client that sends pings or pongs, and a message after them
    protocols, read = list[HTTPConnection](), asyncio.Event()

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        socket = Socket(compress=False)
        await socket.prepare(request)
        assert isinstance(request.protocol, HTTPConnection)
        protocols.append(request.protocol)
        assert (await socket.receive()).data == "hello"
        request.protocol.frame_processed()
        read.set()
        return socket

    budget = Admission(10_000_000)
    server = Server(serve, 10, budget=budget)
    listener = await listen(server, "127.0.0.1", 0, None)
    try:
        async with asyncio.timeout(120):
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HANDSHAKE + bytes([opcode, 0x80, 0, 0, 0, 0]) * 1000)
            writer.write(b"\x81\x85\0\0\0\0hello")
            await reader.readuntil(b"\r\n\r\n")
            if opcode == 0x89:
                assert await reader.readexactly(2) == b"\x8a\x00"
            await read.wait()

            # Then they are no longer held, nor taken from the budget
            frames = protocols[0]._frames
            assert frames is not None
            assert (frames.held, len(frames.complete), budget.used) == (0, 0, 0)
            writer.close()
    finally:
        listener.close()
        await server.shutdown(1.0)


def masked(text: bytes) -> bytes:
    """Return a short text frame of a client."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


@pytest.mark.parametrize("broken", [False, True])
async def test_few_messages_are_parsed_before_the_first_is_processed(broken: bool) -> None:
    # Given a client that sends many small messages at once, to a worker that takes its time
    read, arrived, texts = asyncio.Event(), list[str](), 5000
    connections = list[HTTPConnection]()
    ended = asyncio.Event()

    async def receive(request: web.BaseRequest) -> web.StreamResponse:
        socket = Socket(compress=False)
        await socket.prepare(request)
        assert isinstance(request.protocol, HTTPConnection)
        connections.append(request.protocol)
        await read.wait()
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                arrived.append(message.data)
            request.protocol.frame_processed()
            if not len(arrived) % 7:
                await asyncio.sleep(0)
        ended.set()
        return socket

    server = Server(receive, 10, budget=Admission(1_000_000))
    listener = await listen(server, "127.0.0.1", 0, None)
    port = listener.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(HANDSHAKE)
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
            sent = b"".join(masked(b"%d" % number) for number in range(texts))
            end = b"\xff\x80\0\0\0\0" if broken else b"\x88\x80\0\0\0\0"
            writer.write(sent + end)
            while not connections or connections[0].unread is None:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)

            # Then few of them are objects
            frames = connections[0]._frames
            assert frames is not None
            assert len(frames.complete) == MESSAGES_AHEAD

            # and all are read in the end, in order
            read.set()
            await ended.wait()
            assert arrived == [str(number) for number in range(texts)]
            assert (await reader.read())[:1] == b"\x88"
    finally:
        writer.close()
        listener.close()
        await server.shutdown(1.0)
