"""Requests that fail: what is left of them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.auth.principal import UNRESTRICTED
from streams.gateway.http.context import RequestContext
from streams.gateway.http.dispatcher import Dispatcher
from streams.gateway.http.errors import HTTPError, busy
from streams.gateway.http.routing import HTTPRoute
from streams.gateway.metrics.registry import Metrics
from streams.gateway.reads.long_polls import LongPolls
from streams.gateway.routes import events
from streams.gateway.writes.admission import Admission, Share
from streams.gateway.writes.event_parser import EventParser
from streams.settings import Settings

SETTINGS = Settings.from_env({})


@contextmanager
def frames_left() -> Iterator[list[FrameType]]:
    """Find the frames of our code that only the garbage collector would free."""
    gc.collect()
    found: list[FrameType] = []
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = [one for one in gc.garbage if isinstance(one, FrameType)]
        found += [one for one in kept if "/streams/gateway/" in one.f_code.co_filename]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("error", [busy("full"), HTTPError(400, "bad_field", "wrong")])
async def test_a_request_that_is_refused_leaves_no_frames(error: HTTPError) -> None:
    # Given a handler that has read something when it refuses the request
    async def handler(context: RequestContext) -> web.StreamResponse:
        raise type(error)(error.status, error.code, str(error), error.headers)

    dispatcher = Dispatcher(
        [HTTPRoute("GET", "/v1/cluster", handler)],
        Authenticator(SETTINGS),
        Metrics(LongPolls()),
        SETTINGS,
        Admission(1 << 20),
    )

    async def respond() -> int:
        request = make_mocked_request("GET", "/v1/cluster", {"Host": "127.0.0.1"})
        _, _, response = await dispatcher._respond(request)
        return response.status

    with frames_left() as frames:
        assert await respond() == error.status
    assert frames == []


async def test_a_batch_with_a_wrong_line_leaves_no_frames() -> None:
    async def parse() -> None:
        protocol = BaseProtocol(asyncio.get_running_loop())
        protocol.connection_made(asyncio.Transport())
        reader = StreamReader(protocol, 1 << 20, loop=asyncio.get_running_loop())
        reader.feed_data(b'{"type":"bind","group":"g","queue":"q"}\n{"type":"x"}\n')
        reader.feed_eof()
        context: Any = SimpleNamespace(
            parser=EventParser(SETTINGS, UNRESTRICTED.permissions),
            request=make_mocked_request("POST", "/v1/events", payload=reader),
        )
        no_seqs: Any = None
        with pytest.raises(HTTPError, match="line 2: "), Share(Admission(1 << 20)) as share:
            await events._parsed(context, share, no_seqs)

    with frames_left() as frames:
        await parse()
    assert [frame.f_code.co_name for frame in frames] == []
