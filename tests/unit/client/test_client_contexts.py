"""Sessions, jobs and tokens of the client, at a gateway that is made up."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from streams.client import Client, ClientError, Refused, SessionLost, Unavailable
from streams.client.credentials import Credentials, expiry

JOB = {"seq": 7, "id": "i", "group": "@q", "sender": "", "kind": "text", "headers": {}, "at": 1}


@dataclass
class Gateway:
    """Answers as a worker does, of one queue, and keeps what it was asked."""

    session: str | None = None
    tokens: set[str] | None = None
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers to heartbeats, before the usual ones."""
    url: str = ""

    def said(self, ending: str) -> list[Any]:
        return [body for _, path, body in self.asked if path.endswith(ending)]

    async def answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.asked.append((request.method, request.path, json.loads(text) if text else None))
        if self.tokens is not None:
            shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if shown not in self.tokens:
                return _error(401, "unauthorized")
        match request.method, request.path.split("/")[4:]:
            case "PUT", ["sessions", session]:
                self.session = session
            case "DELETE", ["sessions", session]:
                self.session = None
            case "POST", ["sessions", session, "heartbeats"]:
                if self.answers:
                    return _error(self.answers.pop(0), "made_up")
                if session != self.session:
                    return _error(404, "no_session")
            case "POST", ["leases"]:
                count = json.loads(text)["limit"]
                jobs = [{**JOB, "seq": 7 + number, "body": "work"} for number in range(count)]
                return web.json_response({"messages": jobs})
            case "GET", []:
                return web.json_response({"depth": 0, "groups": 0, "session": self.session})
        return web.Response(status=204)


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": "no"}}, status=status)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", gateway.answer)
    server = TestServer(app)
    await server.start_server()
    gateway.url = str(server.make_url(""))
    yield gateway
    await server.close()


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    async with Client(gateway.url, retry_seconds=0.3) as client:
        yield client


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def hold(client: Client, gateway: Gateway, then: str | None = None) -> None:
    """Hold a session for longer than it may, while it becomes another one."""
    async with client.session("q", ttl=0.15):
        if then is not None:
            gateway.session = then
        await asyncio.sleep(5)
        raise AssertionError("the block was not cancelled")


# Sessions ---------------------------------------------------------------------------------


async def test_a_session_with_a_ttl_says_that_it_lives(client: Client, gateway: Gateway) -> None:
    async with client.session("q", groups=["g"], ttl=0.15, presence=False) as session:
        await until(lambda: len(gateway.said("/heartbeats")) >= 3)
        assert [gateway.session] == [session.id]
    assert gateway.session is None
    opened = {"groups": ["g"], "ttl_seconds": 0.15, "presence": False}
    assert gateway.said(f"/sessions/{session.id}")[0] == opened
    count = len(gateway.said("/heartbeats"))
    await asyncio.sleep(0.15)
    assert len(gateway.said("/heartbeats")) == count


async def test_a_take_over_cancels_the_block_and_leaves_the_other_open(
    client: Client, gateway: Gateway
) -> None:
    with pytest.raises(SessionLost, match="taken over") as lost:
        await hold(client, gateway, "another")
    assert lost.value.by == "another"
    assert gateway.session == "another"
    # And the task that held it is as it was
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_callback_is_told_instead(client: Client, gateway: Gateway) -> None:
    told: list[SessionLost] = []
    async with client.session("q", ttl=0.15, on_lost=told.append) as session:
        gateway.session = None
        await until(lambda: told)
        assert session.lost is told[0]
        assert told[0].by is None
    assert not [one for one in gateway.asked if one[0] == "DELETE"]


async def test_a_worker_that_is_away_does_not_end_a_session(
    client: Client, gateway: Gateway
) -> None:
    gateway.answers = [503] * 3
    async with client.session("q", ttl=0.15):
        await until(lambda: not gateway.answers and len(gateway.said("/heartbeats")) > 4)


async def test_who_may_not_keep_it_open_is_told_why(client: Client, gateway: Gateway) -> None:
    gateway.answers = [403]
    with pytest.raises(SessionLost, match="not kept open") as lost:
        await hold(client, gateway)
    assert isinstance(lost.value.__cause__, Refused)


async def test_who_cancels_the_holder_is_not_told_of_a_lost_session(
    client: Client, gateway: Gateway
) -> None:
    task = asyncio.create_task(hold(client, gateway))
    await until(lambda: gateway.session)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gateway.session is None


def test_a_ttl_is_some_time() -> None:
    with pytest.raises(ValueError, match="ttl"):
        Client().session("q", ttl=0)


# Jobs -------------------------------------------------------------------------------------


async def test_a_job_is_kept_in_its_block_and_then_acked(client: Client, gateway: Gateway) -> None:
    async for job in client.jobs("q", lease=1.5, consumer="me"):
        async with job:
            assert (job.text, job.tries) == ("work", 1)
            await until(lambda: gateway.said("/nacks"))
        break
    (leased,) = gateway.said("/leases")
    assert leased == {"limit": 1, "consumer": "me", "visibility_seconds": 1.5}
    (kept,) = gateway.said("/nacks")
    assert (kept["outcome"], kept["delay_seconds"], kept["consumer"]) == ("extend", 1.5, "me")
    assert gateway.said("/acks") == [{"seqs": [7]}]


async def test_a_job_whose_block_fails_is_given_back(client: Client, gateway: Gateway) -> None:
    (job,) = await client.lease("q", consumer="me")
    with pytest.raises(LookupError):
        async with job:
            raise LookupError
    (back,) = gateway.said("/nacks")
    assert (back["outcome"], back["seqs"]) == ("retry", [7])
    assert gateway.said("/acks") == []


async def test_what_a_block_says_of_its_job_stands(client: Client, gateway: Gateway) -> None:
    async with (await client.lease("q"))[0] as job:
        await job.reject()
    async with (await client.lease("q"))[0] as job:
        await job.nack(delay=5)
    async with (await client.lease("q"))[0] as job:
        await job.ack()
    assert [one["outcome"] for one in gateway.said("/nacks")] == ["reject", "retry"]
    assert len(gateway.said("/acks")) == 1


async def test_jobs_that_wait_here_are_kept_and_at_the_end_given_back(
    client: Client, gateway: Gateway
) -> None:
    jobs = client.jobs("q", lease=1.5, prefetch=3)
    first = await anext(jobs)
    await until(lambda: len(gateway.said("/nacks")) >= 2)
    # Those that wait are kept; the one that was handed out is its taker's
    assert {tuple(one["seqs"]) for one in gateway.said("/nacks")} == {(8,), (9,)}
    assert {one["outcome"] for one in gateway.said("/nacks")} == {"extend"}
    async with first:
        pass
    assert isinstance(jobs, AsyncGenerator)
    await jobs.aclose()
    back = [one["seqs"] for one in gateway.said("/nacks") if one["outcome"] == "retry"]
    assert back == [[8], [9]]
    assert len(gateway.said("/leases")) == 1


# Tokens -----------------------------------------------------------------------------------


def token(seconds: float, name: str = "x") -> str:
    claims = json.dumps({"exp": time.time() + seconds, "sub": name}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


async def test_a_refused_token_is_asked_for_again_once(gateway: Gateway) -> None:
    gateway.tokens = {"good"}
    given = iter(["old", "good", "bad", "bad"])
    async with Client(gateway.url, token=lambda: next(given)) as client:
        assert (await client.queue("q")).depth == 0
        assert (await client.queue("q")).depth == 0
        gateway.tokens = {"none"}
        with pytest.raises(Refused) as refused:
            await client.queue("q")
        assert refused.value.status == 401
    assert next(given) == "bad"


async def test_a_token_as_it_is_is_not_asked_for(gateway: Gateway) -> None:
    gateway.tokens = {"good"}
    async with Client(gateway.url, token="bad") as client:
        with pytest.raises(Refused):
            await client.queue("q")
    assert len(gateway.asked) == 1


async def test_a_token_is_replaced_before_it_expires() -> None:
    given: list[str] = []

    async def fresh() -> str:
        given.append(token(1.0 if not given else 3600, str(len(given))))
        return given[-1]

    credentials = Credentials(fresh)
    first = await credentials.token()
    assert await credentials.token() == first
    left = credentials.seconds_left
    assert left is not None
    assert 0 < left < 1
    await asyncio.sleep(left)
    assert await credentials.token() == given[1] != first
    assert 3500 < (credentials.seconds_left or 0) < 3600


async def test_who_has_no_token_says_so_without_showing_anything(gateway: Gateway) -> None:
    def broken() -> str:
        raise OSError("secret")

    async with Client(gateway.url, token=broken) as client:
        with pytest.raises(Unavailable, match="there is no token: OSError"):
            await client.queue("q")
    assert not gateway.asked


def test_when_a_token_expires_is_read_if_it_says_so() -> None:
    assert expiry(token(60)) == pytest.approx(time.time() + 60, abs=5)
    for other in ("", "opaque", "a.b.c", "e30.e30.s", "e30.W10.s"):
        assert expiry(other) is None


def test_errors_of_sessions_are_errors_of_the_client() -> None:
    assert issubclass(SessionLost, ClientError)
