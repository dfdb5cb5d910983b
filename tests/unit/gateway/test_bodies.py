"""Bodies of requests as they arrive: their lines, their limits, and what is kept of them."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import suppress
from typing import cast

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from streams.gateway.http.bodies import lines_of, read_body
from streams.gateway.http.errors import HTTPError
from streams.gateway.writes.admission import Admission, Share

MIB = 1024 * 1024


class Body:
    """A request whose body is fed piece by piece."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        protocol = BaseProtocol(loop)
        protocol.connection_made(asyncio.Transport())
        self.reader = StreamReader(protocol, 64 * MIB, loop=loop)
        made = make_mocked_request("POST", "/", payload=self.reader)
        self.request = cast(web.BaseRequest, made)
        self.budget = Admission(64 * MIB)

    def feed(self, *pieces: bytes) -> Body:
        for piece in pieces:
            self.reader.feed_data(piece)
        return self

    def end(self) -> Body:
        self.reader.feed_eof()
        return self

    async def lines(self, limit: int = MIB, line_limit: int = MIB) -> list[tuple[int, bytes]]:
        with Share(self.budget) as share:
            return [one async for one in lines_of(self.request, limit, line_limit, share)]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"a"], [(1, b"a")]),
        ([b"a\n"], [(1, b"a")]),
        ([b"\n\n a \n\n"], [(3, b" a ")]),
        ([b"a\nb\nc"], [(1, b"a"), (2, b"b"), (3, b"c")]),
        ([b"abc", b"def", b"\ng", b"h", b"\n"], [(1, b"abcdef"), (2, b"gh")]),
        ([b"a", b"\n", b"\n", b"b"], [(1, b"a"), (3, b"b")]),
    ],
)
async def test_lines(pieces: list[bytes], lines: list[tuple[int, bytes]]) -> None:
    # Given pieces that arrive one after the other
    body = Body()
    task = asyncio.create_task(body.lines())
    for piece in pieces:
        await asyncio.sleep(0)
        body.feed(piece)
    await asyncio.sleep(0)
    body.end()
    assert await task == lines
    assert body.budget.used == 0


@pytest.mark.parametrize(
    ("pieces", "where"),
    [
        ([b"12345\n", b"123456\n"], "line 2: "),
        ([b"1\n2\n123456"], "line 3: "),
        ([b"123", b"456"], "line 1: "),
    ],
)
async def test_a_line_over_the_limit(pieces: list[bytes], where: str) -> None:
    with pytest.raises(HTTPError, match=f"{where}over the limit of 5 bytes"):
        await Body().feed(*pieces).end().lines(line_limit=5)


async def test_a_body_of_many_pieces_is_whole() -> None:
    body = Body()
    with Share(body.budget) as share:
        task = asyncio.create_task(read_body(body.request, MIB, share))
        for number in range(300):
            body.feed(b"%d," % number)
            if number % 7 == 0:
                await asyncio.sleep(0)
        body.end()
        assert await task == b"".join(b"%d," % number for number in range(300))


@pytest.mark.parametrize("reading", ["lines", "body"])
async def test_what_waits_for_more_is_kept_once(reading: str) -> None:
    # Given a client that has sent a whole line and a part of the next one, and then stops
    body = Body()
    share = Share(body.budget)

    async def read() -> None:
        if reading == "body":
            await read_body(body.request, 64 * MIB, share)
            return
        async for _number, line in lines_of(body.request, 64 * MIB, 16 * MIB, share):
            del line

    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        task = asyncio.create_task(read())
        for piece in (b"x" * MIB, b"\n" + b"y" * MIB, b"z" * MIB):
            body.feed(piece)
            for _ in range(5):
                await asyncio.sleep(0)
        del piece
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    # Then what is kept is what the budget counts, and what a buffer has in reserve
    expected = 2 * MIB if reading == "lines" else 3 * MIB
    assert body.budget.used == 3 * MIB + 1
    assert kept < 1.2 * expected
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
