"""Sessions, jobs and tokens of the client, against a scripted HTTP server.

The script produces what a real gateway does only rarely: failed heartbeats, rejected tokens.
"""

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
class ScriptedGateway:
    """Answers for one queue as a worker does, and records the requests."""

    session: str | None = None
    tokens: set[str] | None = None
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """Statuses of the next responses to heartbeats, before the normal ones."""
    url: str = ""

    def bodies(self, ending: str) -> list[Any]:
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
                    return _error(self.answers.pop(0), "scripted")
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
async def gateway() -> AsyncIterator[ScriptedGateway]:
    gateway = ScriptedGateway()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", gateway.answer)
    server = TestServer(app)
    await server.start_server()
    gateway.url = str(server.make_url(""))
    yield gateway
    await server.close()


@pytest.fixture
async def client(gateway: ScriptedGateway) -> AsyncIterator[Client]:
    async with Client(gateway.url, retry_seconds=0.3) as client:
        yield client


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def hold(client: Client, gateway: ScriptedGateway, then: str | None = None) -> None:
    """Hold a session until it is lost, after the queue's session has become `then`."""
    async with client.session("q", ttl=0.15):
        if then is not None:
            gateway.session = then
        await asyncio.sleep(60)
        raise AssertionError("the block was not cancelled")


# Sessions ---------------------------------------------------------------------------------


async def test_a_session_with_a_ttl_sends_heartbeats(
    client: Client, gateway: ScriptedGateway
) -> None:
    async with client.session("q", groups=["g"], ttl=0.15, presence=False) as session:
        await until(lambda: len(gateway.bodies("/heartbeats")) >= 3)
        assert [gateway.session] == [session.id]
    assert gateway.session is None
    opened = {"groups": ["g"], "ttl_seconds": 0.15, "presence": False}
    assert gateway.bodies(f"/sessions/{session.id}")[0] == opened
    count = len(gateway.bodies("/heartbeats"))
    await asyncio.sleep(0.15)
    assert len(gateway.bodies("/heartbeats")) == count


async def test_a_takeover_cancels_the_block_and_leaves_the_other_session_open(
    client: Client, gateway: ScriptedGateway
) -> None:
    with pytest.raises(SessionLost, match="taken over") as lost:
        await hold(client, gateway, "another")
    assert lost.value.by == "another"
    assert gateway.session == "another"
    # And the task that held it is not left cancelled
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_callback_replaces_the_cancellation(
    client: Client, gateway: ScriptedGateway
) -> None:
    told: list[SessionLost] = []
    async with client.session("q", ttl=0.15, on_lost=told.append) as session:
        gateway.session = None
        await until(lambda: told)
        assert session.lost is told[0]
        assert told[0].by is None
    assert not [one for one in gateway.asked if one[0] == "DELETE"]


async def test_an_unavailable_worker_does_not_end_a_session(
    client: Client, gateway: ScriptedGateway
) -> None:
    gateway.answers = [503] * 3
    async with client.session("q", ttl=0.15):
        await until(lambda: not gateway.answers and len(gateway.bodies("/heartbeats")) > 4)


async def test_a_refused_heartbeat_loses_the_session_with_its_cause(
    client: Client, gateway: ScriptedGateway
) -> None:
    gateway.answers = [403]
    with pytest.raises(SessionLost, match="cannot be kept open") as lost:
        await hold(client, gateway)
    assert isinstance(lost.value.__cause__, Refused)


async def test_a_cancelled_holder_stays_cancelled(client: Client, gateway: ScriptedGateway) -> None:
    task = asyncio.create_task(hold(client, gateway))
    await until(lambda: gateway.session)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gateway.session is None


def test_a_ttl_must_be_positive() -> None:
    with pytest.raises(ValueError, match="ttl"):
        Client().session("q", ttl=0)


# Jobs -------------------------------------------------------------------------------------


async def test_a_block_extends_its_job_and_then_acknowledges_it(
    client: Client, gateway: ScriptedGateway
) -> None:
    async for job in client.jobs("q", lease=1.5, consumer="me"):
        async with job:
            assert (job.text, job.tries) == ("work", 1)
            await until(lambda: gateway.bodies("/nacks"))
        break
    (leased,) = gateway.bodies("/leases")
    assert leased == {"limit": 1, "consumer": "me", "visibility_seconds": 1.5}
    (extended,) = gateway.bodies("/nacks")
    assert (extended["outcome"], extended["delay_seconds"], extended["consumer"]) == (
        "extend",
        1.5,
        "me",
    )
    assert gateway.bodies("/acks") == [{"seqs": [7]}]


async def test_a_job_whose_block_fails_returns_to_the_queue(
    client: Client, gateway: ScriptedGateway
) -> None:
    (job,) = await client.lease("q", consumer="me")
    with pytest.raises(LookupError):
        async with job:
            raise LookupError
    (back,) = gateway.bodies("/nacks")
    assert (back["outcome"], back["seqs"]) == ("retry", [7])
    assert gateway.bodies("/acks") == []


async def test_a_job_settled_in_its_block_is_not_settled_again(
    client: Client, gateway: ScriptedGateway
) -> None:
    async with (await client.lease("q"))[0] as job:
        await job.reject()
    async with (await client.lease("q"))[0] as job:
        await job.nack(delay=5)
    async with (await client.lease("q"))[0] as job:
        await job.ack()
    assert [one["outcome"] for one in gateway.bodies("/nacks")] == ["reject", "retry"]
    assert len(gateway.bodies("/acks")) == 1


async def test_prefetched_jobs_are_extended_and_finally_returned(
    client: Client, gateway: ScriptedGateway
) -> None:
    jobs = client.jobs("q", lease=1.5, prefetch=3)
    first = await anext(jobs)
    await until(lambda: len(gateway.bodies("/nacks")) >= 2)
    # Those that wait are extended; the one handed out is up to its user
    assert {tuple(one["seqs"]) for one in gateway.bodies("/nacks")} == {(8,), (9,)}
    assert {one["outcome"] for one in gateway.bodies("/nacks")} == {"extend"}
    async with first:
        pass
    assert isinstance(jobs, AsyncGenerator)
    await jobs.aclose()
    back = [one["seqs"] for one in gateway.bodies("/nacks") if one["outcome"] == "retry"]
    assert back == [[8], [9]]
    assert len(gateway.bodies("/leases")) == 1


# Tokens -----------------------------------------------------------------------------------


def token(seconds: float, name: str = "x") -> str:
    claims = json.dumps({"exp": time.time() + seconds, "sub": name}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


async def test_a_rejected_token_is_renewed_once(gateway: ScriptedGateway) -> None:
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


async def test_a_fixed_token_is_not_renewed(gateway: ScriptedGateway) -> None:
    gateway.tokens = {"good"}
    async with Client(gateway.url, token="bad") as client:
        with pytest.raises(Refused):
            await client.queue("q")
    assert len(gateway.asked) == 1


async def test_a_token_is_replaced_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a clock that stands still, and a token that expires in a minute
    now = time.time()
    monkeypatch.setattr("streams.client.credentials.time.time", lambda: now)
    given: list[str] = []

    async def fresh() -> str:
        given.append(token(60.0 if not given else 3600, str(len(given))))
        return given[-1]

    credentials = Credentials(fresh)
    first = await credentials.token()
    assert await credentials.token() == first
    left = credentials.seconds_left
    assert left == pytest.approx(40)

    # When most of the minute has passed, then it is replaced
    now += left or 0.0
    assert await credentials.token() == given[1] != first
    assert credentials.seconds_left == pytest.approx(3600 - 30)


async def test_a_failing_token_function_is_reported_without_its_message(
    gateway: ScriptedGateway,
) -> None:
    def broken() -> str:
        raise OSError("secret")

    async with Client(gateway.url, token=broken) as client:
        with pytest.raises(Unavailable, match="the token function failed: OSError"):
            await client.queue("q")
    assert not gateway.asked


def test_the_expiry_of_a_token_is_read_if_it_states_one() -> None:
    assert expiry(token(60)) == pytest.approx(time.time() + 60, abs=5)
    for other in ("", "opaque", "a.b.c", "e30.e30.s", "e30.W10.s"):
        assert expiry(other) is None


def test_a_lost_session_is_a_client_error() -> None:
    assert issubclass(SessionLost, ClientError)
