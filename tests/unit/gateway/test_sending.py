"""Long responses, to clients who read them and to clients who do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import web

from streams.gateway.http import sending
from streams.gateway.http.sending import page_bytes, send
from streams.gateway.http.server import Server, listen
from streams.gateway.writes.admission import Admission

PATIENCE = 120
LONG = b"0123456789abcdef" * 2048 * 1024  # 32 MiB: more than any socket keeps
BUDGET = 10 * len(LONG)


class World:
    """A server of long responses, and its clients."""

    def __init__(self) -> None:
        self.unsent = Admission(BUDGET)
        self.statuses: list[int] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        made = web.Response(body=LONG, content_type="text/plain")
        sent = await send(request, made, self.unsent, request.query.get("who"))
        self.statuses.append(sent.status)
        return sent

    async def ask(self, method: str = "GET", who: str = "ann") -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(f"{method} /?who={who} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return reader

    async def head(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await reader.readuntil(b"\r\n\r\n")

    async def all_given_back(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.unsent.used:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    server = Server(made.answer, 1000, budget=Admission(1_000_000))
    listener = await listen(server, "127.0.0.1", 0, None)
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    for writer in made.writers:
        writer.close()
    listener.close()
    await server.shutdown(1.0)


async def test_a_long_response_arrives_whole_and_the_next_one_too(world: World) -> None:
    reader = await world.ask()
    head = await world.head(reader)
    assert head.startswith(b"HTTP/1.1 200")
    assert b"Content-Type: text/plain" in head
    assert f"Content-Length: {len(LONG)}\r\n".encode() in head
    async with asyncio.timeout(PATIENCE):
        assert await reader.readexactly(len(LONG)) == LONG
    # The connection is kept, and HEAD has no body
    world.writers[0].write(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await world.head(reader)).startswith(b"HTTP/1.1 200")
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    await world.all_given_back()


async def test_clients_that_do_not_read_get_no_more_than_their_share(world: World) -> None:
    # Given clients of one principal that ask and do not read
    readers = [await world.ask() for _ in range(12)]
    heads = [await world.head(reader) for reader in readers]
    # Then they have half of the budget, and the others are told so
    assert sum(head.startswith(b"HTTP/1.1 200") for head in heads) == 5
    assert sum(head.startswith(b"HTTP/1.1 429") for head in heads) == 7
    assert world.unsent.used == 5 * len(LONG)
    for head in heads:
        if b"429" in head[:20]:
            assert b"Server: streams\r\n" in head
            assert b"Cache-Control: no-store\r\n" in head
    # and another principal gets a response
    assert (await world.head(await world.ask(who="bob"))).startswith(b"HTTP/1.1 200")
    # What tells of something that has happened is never withheld
    assert (await world.head(await world.ask("POST"))).startswith(b"HTTP/1.1 200")
    # When all are gone, Then their share is given back
    for writer in world.writers:
        writer.close()
    await world.all_given_back()


async def test_a_client_that_never_reads_is_disconnected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "WRITE_SECONDS", 0.2)
    reader = await world.ask()
    await world.head(reader)
    await world.all_given_back()
    # What it has been sent by then is all that it gets
    received = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            received = await reader.read()
    assert len(received) < len(LONG)
    assert world.statuses == []


def test_pages_are_shorter_while_much_is_unsent() -> None:
    unsent = Admission(1600)
    assert page_bytes(unsent, None, 300) == 300
    assert page_bytes(unsent, "ann", 300) == 200  # a quarter of the half that is ann's
    unsent.take(800, "ann")
    assert page_bytes(unsent, "ann", 300) == 0
    assert page_bytes(unsent, "bob", 300) == 100
    unsent.owe(1000, "ann")
    assert page_bytes(unsent, "bob", 300) == 0
    unsent.give_back(1800, "ann")
    assert page_bytes(unsent, None, 300) == 300
