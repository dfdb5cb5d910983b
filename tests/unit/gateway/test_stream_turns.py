"""A client with a large backlog gets it in bounded steps, with the event loop free in between.

Real HTTP over loopback; only the engine is left out.  No clock: turns of the event loop count.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import aiohttp
import pytest
from aiohttp import web

from streams.engine.testing import MemoryRows
from streams.events.codec import encode
from streams.events.records import Message
from streams.folds.row_keys import inbox_bucket
from streams.gateway.auth.principal import UNRESTRICTED
from streams.gateway.http.context import RequestContext
from streams.gateway.http.server import Server, listen
from streams.gateway.reads.long_polls import LongPolls
from streams.gateway.reads.readers import Readers
from streams.gateway.reads.seqs import Seqs
from streams.gateway.routes.queue_events import PAGE_MESSAGES, QueueEventRoutes
from streams.gateway.streaming.pages import PAGE_BYTES, Pages
from streams.gateway.streaming.subscription import StreamSubscription
from streams.gateway.streaming.wire import Socket, Wire
from streams.gateway.streaming.writer import StreamWriter
from streams.gateway.writes.admission import Admission

MESSAGES = 3000
BODY = b"x" * 500


class CountedRows(MemoryRows):
    """Rows that note at which turn of the event loop each read of an inbox began."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        self.reads: list[int] = []

    def scan(self, bucket: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        self.reads.append(self.turn)
        return super().scan(bucket, after)

    async def count_turns(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


@pytest.fixture
async def rows() -> AsyncIterator[CountedRows]:
    """A queue `q` with a large backlog."""
    found = CountedRows()
    for seq in range(1, MESSAGES + 1):
        message = encode(Message(f"m{seq}", "g", "s", body=BODY))
        found.put(inbox_bucket("q"), seq.to_bytes(8, "big"), message)
    task = asyncio.create_task(found.count_turns())
    yield found
    task.cancel()


async def _serve(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> tuple[str, Callable[[], Awaitable[None]]]:
    server = Server(handler, limit=10, budget=Admission(1_000_000))
    listener = await listen(server, "127.0.0.1", 0, None)

    async def close() -> None:
        listener.close()
        await server.shutdown(1.0)

    return f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/", close


async def test_server_sent_events_of_a_backlog_yield_after_each_page(rows: CountedRows) -> None:
    # Given a server of one queue's events
    partition = SimpleNamespace(rows=rows, number=0, position=MESSAGES)

    async def read(request: Any, table: str, key: str, answer: Any) -> web.StreamResponse:
        return cast(web.StreamResponse, await answer(partition))

    router: Any = SimpleNamespace(read=read, check=lambda partition: None)
    known = Seqs(1, lambda number: MESSAGES, AsyncMock())
    routes = QueueEventRoutes(router, LongPolls(), Readers(), known)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        parser: Any = None
        return await routes.events(
            RequestContext(request, "/", "", {"queue": "q"}, parser, UNRESTRICTED)
        )

    url, close = await _serve(handler)

    # When a client reads all of them
    seqs: list[int] = []
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        async with asyncio.timeout(120):
            while len(seqs) < MESSAGES:
                line = await answer.content.readline()
                if line.startswith(b"id: "):
                    seqs.append(int(line[4:]))
    await close()

    # Then each is sent once, a page at a time, and other tasks have run between any two pages
    assert seqs == list(range(1, MESSAGES + 1))
    assert len(rows.reads) >= MESSAGES / PAGE_MESSAGES
    assert all(first < second for first, second in zip(rows.reads, rows.reads[1:], strict=False))


async def test_a_stream_with_a_backlog_yields_after_each_page(rows: CountedRows) -> None:
    # Given a stream that is subscribed to the queue
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        socket = Socket()
        await socket.prepare(request)
        to_write = asyncio.Event()
        leases: Any = None
        pages = Pages(
            leases,
            lambda partition: True,
            lambda subscription: None,
            lambda count: None,
            to_write,
            forwarded=False,
        )
        connection: Any = None
        subscription = StreamSubscription(connection, "q", 0, 0, None, None, -1)
        subscription.local = cast(Any, SimpleNamespace(rows=rows))
        pages.mark(subscription)
        writer = asyncio.create_task(
            StreamWriter(Wire(socket, request, True), pages, to_write).run()
        )
        async for _ in socket:
            pass
        writer.cancel()
        return socket

    url, close = await _serve(handler)

    # When a client reads all of it
    seqs: list[int] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        async with asyncio.timeout(120):
            while len(seqs) < MESSAGES:
                seqs += [frame["seq"] for frame in json.loads(await socket.receive_str())]
    await close()

    # Then each is sent once, and no turn of the event loop reads more than one page
    assert seqs == list(range(1, MESSAGES + 1))
    most = PAGE_BYTES // (PAGE_MESSAGES * len(BODY)) + 1
    for turn in set(rows.reads):
        assert rows.reads.count(turn) <= most
