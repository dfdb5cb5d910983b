"""Clients that are gone while they are not read from."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from aiohttp import web

from streams.gateway.http.connection import HTTPConnection
from streams.gateway.http.gone import ASK_SECONDS, FINISH_SECONDS, Gone
from streams.gateway.http.server import Server, listen
from streams.gateway.streaming.wire import Socket
from streams.gateway.writes.admission import Admission

PATIENCE = 120
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING = b"\x89\0"
FRAME = b"\x81\xfe\x75\x30\0\0\0\0" + b"x" * 30_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of such clients")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        worker, _ = listener.accept()
        with client, worker:
            yield client, worker


def test_a_client_that_closed_has_some_time_for_what_it_sent(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    # Given a client that has sent something and closes
    client, worker = pair
    gone = Gone[str]()
    assert gone.look({"a": worker.fileno()}, 0.0) == []
    client.sendall(b"x")
    client.close()

    # When it is looked at, then it is gone after a while, not at once
    assert gone.look({"a": worker.fileno()}, 1.0) == []
    assert gone.look({"a": worker.fileno()}, 1.0 + FINISH_SECONDS / 2) == []
    assert gone.look({"a": worker.fileno()}, 1.0 + FINISH_SECONDS) == ["a"]
    # and whoever was read from meanwhile has that time again
    assert gone.look({}, 100.0) == []
    assert gone.look({"a": worker.fileno()}, 101.0) == []


def test_a_connection_that_was_reset_is_gone_at_once(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, worker = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert Gone[str]().look({"a": worker.fileno(), "b": -1}, 1.0) == ["a"]


class Held:
    """A server of one stream that is never read from, and what became of it."""

    def __init__(self) -> None:
        self.socket = Socket(compress=False, heartbeat=10_000.0)
        self.began, self.ended = asyncio.Event(), asyncio.Event()
        self.connection: HTTPConnection | None = None

    async def unread(self) -> None:
        """Wait until the worker reads no more."""
        while self.connection is None or self.connection.unread is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            await self.socket.prepare(request)
            assert isinstance(request.protocol, HTTPConnection)
            self.connection = request.protocol
            self.began.set()
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return self.socket


@pytest.fixture
async def held() -> AsyncIterator[tuple[Held, Server, socket.socket]]:
    """A stream whose client sends more than the worker reads."""
    held = Held()
    server = Server(held.serve, 10, budget=Admission(1_000_000), handler_cancellation=True)
    listener = await listen(server, "127.0.0.1", 0, None)
    client = socket.create_connection(listener.sockets[0].getsockname())
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        await loop.sock_sendall(client, HANDSHAKE + FRAME * 3)
        await held.began.wait()
        await held.unread()
    yield held, server, client
    client.close()
    listener.close()
    await server.shutdown(1.0)


async def test_a_client_that_is_gone_is_disconnected_although_nothing_is_read(
    held: tuple[Held, Server, socket.socket],
) -> None:
    # Given a stream that is not read from; nothing happens when its client closes
    stream, server, client = held
    gone = Gone[HTTPConnection]()
    server.look_at_unread(gone, 0.0)
    client.close()
    server.look_at_unread(gone, 1.0)
    assert stream.connection is not None
    assert stream.connection.connected

    # When it has had its time, then it is disconnected, and its handler is cancelled
    server.look_at_unread(gone, 1.0 + FINISH_SECONDS)
    async with asyncio.timeout(PATIENCE):
        await stream.ended.wait()
    assert not stream.connection.connected


async def test_a_client_that_waits_for_its_turn_is_pinged_and_counts_as_alive(
    held: tuple[Held, Server, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a stream that is not read from: answers to pings cannot be seen
    stream, server, client = held
    assert stream.connection is not None
    alive = list[bool]()
    monkeypatch.setattr(stream.connection, "_is_there", lambda: alive.append(True))

    # When it is looked at, then it is sent a ping now and then
    gone, now = Gone[HTTPConnection](), 0.0
    got = b""
    async with asyncio.timeout(PATIENCE):
        while got.count(PING) < 2:
            server.look_at_unread(gone, now)
            now += ASK_SECONDS / 2
            with suppress(BlockingIOError):
                got += client.recv(10_000)
            await asyncio.sleep(0.01)
    # and aiohttp is told that its client is there
    assert len(alive) >= 2
    assert stream.connection.connected


async def test_a_client_whose_end_waits_behind_what_it_sent_is_found_by_a_ping(
    held: tuple[Held, Server, socket.socket],
) -> None:
    # Given a client that has filled the socket and closes: its end does not arrive
    stream, server, client = held
    await asyncio.sleep(0)
    with suppress(BlockingIOError):
        while True:
            client.send(FRAME)
    got = b""
    while not got.endswith(b"\r\n\r\n"):  # so that closing does not reset the connection
        got += await asyncio.get_running_loop().sock_recv(client, 10_000)
    client.close()
    gone = Gone[HTTPConnection]()

    # When it is looked at, then its machine refuses the ping
    async with asyncio.timeout(PATIENCE):
        while not stream.ended.is_set():
            server.look_at_unread(gone, 0.0)
            await asyncio.sleep(0.01)


async def test_a_client_that_does_not_take_what_is_sent_is_not_called_alive(
    held: tuple[Held, Server, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a client whose machine has not acknowledged something
    stream, server, _ = held
    assert stream.connection is not None
    assert stream.connection.transport is not None
    alive = list[bool]()
    monkeypatch.setattr(stream.connection, "_is_there", lambda: alive.append(True))
    stream.connection.transport.write(b"x" * 50_000_000)

    # When it is looked at, then aiohttp is left to find out
    server.look_at_unread(Gone(), 0.0)
    assert alive == []


async def test_the_system_asks_for_machines_that_are_gone(
    held: tuple[Held, Server, socket.socket],
) -> None:
    connection = held[0].connection
    assert connection is not None
    assert connection.transport is not None
    one = connection.transport.get_extra_info("socket")
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    seconds = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    seconds += one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) * one.getsockopt(
        socket.IPPROTO_TCP, socket.TCP_KEEPCNT
    )
    assert seconds <= 60
