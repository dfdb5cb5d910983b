"""The commands' HTTP client: what it repeats, what it does not, and how it says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from streams.client.errors import Refused
from streams.client.requests import path
from streams.errors import Unavailable
from streams.operate.gateway_client import GatewayClient

Answers = list[tuple[int, object]]
Serve = Callable[[Answers], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve these answers one after the other, the last for ever; returns the base URL."""
    servers: list[TestServer] = []

    async def start(answers: Answers) -> str:
        async def answer(request: web.Request) -> web.Response:
            status, content = answers.pop(0) if len(answers) > 1 else answers[0]
            return web.json_response(content, status=status)

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", answer)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()


def error(message: str) -> dict[str, dict[str, str]]:
    return {"error": {"code": "x", "message": message}}


async def test_not_now_is_asked_again(serve: Serve) -> None:
    # Given a worker that is rebalancing, then there
    url = await serve([(503, error("rebalancing")), (429, error("busy")), (200, {"a": 1})])
    # Then the client gets the answer
    async with GatewayClient([url]) as gateway:
        assert await gateway.ask("GET", "/v1/x") == {"a": 1}


async def test_a_wrong_request_is_not_repeated(serve: Serve) -> None:
    # Given a worker that refuses once
    url = await serve([(400, error("id is empty")), (200, {})])
    # Then its words come through
    async with GatewayClient([url]) as gateway:
        with pytest.raises(Refused, match="id is empty") as refused:
            await gateway.ask("GET", "/v1/x")
    assert refused.value.status == 400


async def test_patience_ends(serve: Serve) -> None:
    # Given a worker that is never ready
    url = await serve([(503, error("recovering"))])
    async with GatewayClient([url]) as gateway:
        with pytest.raises(Unavailable, match="recovering"):
            await gateway.ask("GET", "/v1/x", retry_for=0.5)


async def test_a_worker_that_is_not_there(unused_tcp_port: int) -> None:
    # Given a port at which nobody listens
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with GatewayClient([url]) as gateway:
        # Then the error says where it looked, and what to do
        with pytest.raises(Unavailable, match=r"cannot be reached.*streams worker"):
            await gateway.ask("GET", "/v1/x", retry_for=0)


async def test_another_worker_answers_instead(serve: Serve, unused_tcp_port: int) -> None:
    # Given two workers, of which one is down
    url = await serve([(200, {"a": 1})])
    async with GatewayClient([f"http://127.0.0.1:{unused_tcp_port}", url]) as gateway:
        # Then every request is answered
        for _ in range(3):
            assert await gateway.ask("GET", "/v1/x") == {"a": 1}


def test_ids_in_paths_are_encoded() -> None:
    assert path("v1", "groups", "a/b ü%") == "/v1/groups/a%2Fb%20%C3%BC%25"
