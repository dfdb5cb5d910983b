"""Two workers with tokens and TLS: no request gets what its token does not grant.

The tests take the endpoints from the router, so a new endpoint is tested too.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from two_workers import agreed_owners, queue_owned_by, run_workers
from yarl import URL

import streams.client
from streams.gateway.auth.access import ACCESS, any_token, anybody, token_later
from streams.gateway.http.server import HANDSHAKE_SECONDS
from streams.gateway.routes import ROUTES
from streams.gateway.writes.event_parser import EVENT_TYPES
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers
from streams.security.signing import make_key, sign
from streams.settings import is_loopback

BURST = 200

BOB = {
    "publish": ["chat.*", "@ann.mail"],
    "bind": ["chat.*"],
    "read": ["@bob*", "chat.tavern"],
}
ENDPOINTS = sorted((route.method, route.template) for route in ROUTES)
GUARDED = [e for e in ENDPOINTS if ACCESS[e] not in (anybody, any_token, token_later)]


@dataclass(frozen=True)
class Guarded:
    """The running workers, and the keys that sign tokens for them."""

    workers: Workers
    key: bytes
    other_key: bytes
    namespace: str
    tls: ssl.SSLContext
    revoked: Path

    def revoke(self, *tokens: str, **subjects: float) -> None:
        """Revoke tokens by id, and all tokens of a subject issued before a time."""
        content = json.loads(self.revoked.read_text())
        content["tokens"] += tokens
        content["subjects"] |= subjects
        new = self.revoked.with_suffix(".new")
        new.write_text(json.dumps(content))
        new.replace(self.revoked)

    def token(self, scopes: dict[str, Any], *, key: bytes | None = None, **more: Any) -> str:
        given = {"namespace": self.namespace, **scopes}
        claims = {"aud": "streams", "exp": time.time() + 600, "streams": given, **more}
        return sign(claims, key or self.key)

    @cached_property
    def admin(self) -> str:
        return self.token({"admin": True, "rate": 0})

    @cached_property
    def bob(self) -> str:
        return self.token(BOB | {"rate": 0}, sub="bob")

    @cached_property
    def observer(self) -> str:
        return self.token({"observe": True, "rate": 0})

    @property
    def logs(self) -> str:
        return "".join(worker.log.read_text() for worker in self.workers.processes)


@pytest.fixture(scope="module")
def guarded(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(folder / "tls.pem")
    make_key(folder / "key.pem", folder / "public.pem")
    make_key(folder / "other.pem", folder / "other.public.pem")
    revoked = folder / "revoked.json"
    revoked.write_text(json.dumps({"tokens": ["stolen"], "subjects": {"mallory": 2e9}}))
    namespace = f"g{uuid.uuid4().hex[:10]}"
    variables = {
        "STREAMS_AUTH_KEYS": str(folder / "public.pem"),
        "STREAMS_AUTH_REVOKED": str(revoked),
        "STREAMS_RATE_LIMIT_BURST": str(BURST),
        "STREAMS_LOG_LEVEL": "DEBUG",
        "STREAMS_HTTP_TLS_CERTFILE": str(folder / "tls.pem"),
        "STREAMS_HTTP_TLS_KEYFILE": str(folder / "tls.key"),
        "STREAMS_HTTP_TLS_CAFILE": str(folder / "ca.pem"),
    }
    with run_workers(2, kafka, folder, namespace, 26400, variables) as started:
        tls = ssl.create_default_context(cafile=folder / "ca.pem")
        keys = (folder / "key.pem").read_bytes(), (folder / "other.pem").read_bytes()
        yield Guarded(started, *keys, namespace, tls, revoked)


class Client:
    """Sends requests to the workers, with or without a token."""

    def __init__(self, guarded: Guarded, session: aiohttp.ClientSession) -> None:
        self.guarded = guarded
        self.session = session
        self._owners: dict[tuple[str, int], int] = {}

    async def ask(
        self,
        worker: int,
        method: str,
        path: str,
        token: str | None = None,
        body: Any = None,
        **headers: str,
    ) -> tuple[int, Any]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = URL(self.guarded.workers.urls[worker] + path, encoded=True)
        async with self.session.request(method, url, data=data, headers=given) as answer:
            content = await answer.read()
            assert answer.headers["Server"] == "streams"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
            if answer.status == 401:
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            if answer.content_type != "application/json" or not content:
                return answer.status, content
            return answer.status, json.loads(content)

    async def stream(
        self,
        worker: int,
        token: str | None = None,
        more_headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Any:
        headers = dict(more_headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = self.guarded.workers.urls[worker] + "/v1/stream"
        return await self.session.ws_connect(url, headers=headers, **more)

    async def owners(self) -> dict[tuple[str, int], int]:
        """Return which worker owns each table partition, once both agree."""

        async def get(worker: int, path: str) -> tuple[int, Any]:
            self.guarded.workers.check()
            return await self.ask(worker, "GET", path, self.guarded.admin)

        return await agreed_owners(self.guarded.workers.urls, get)

    async def name_at(self, worker: int, name: str) -> str:
        """Return an id made from `name` whose partition this worker owns."""
        self._owners = self._owners or await self.owners()
        return queue_owned_by(worker, self._owners, name)


@pytest.fixture
async def client(guarded: Guarded) -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(limit=0, ssl=guarded.tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        client = Client(guarded, session)
        await client.owners()
        yield client


def path_of(template: str, group: str, queue: str) -> str:
    """Fill in a path template with this group and queue, and something valid elsewhere."""
    names = {"group": group, "queue": queue, "table": "queues", "partition": "0"}
    return "/".join(
        names.get(part[1:-1], "x") if part.startswith("{") else part for part in template.split("/")
    )


# Not granted ------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "template"), GUARDED)
async def test_no_endpoint_answers_without_a_valid_token(
    client: Client, method: str, template: str
) -> None:
    guarded = client.guarded
    wrong = [
        None,
        "",
        "x",
        guarded.token({"admin": True}, key=guarded.other_key),
        guarded.token({"admin": True}, exp=time.time() - 60),
        guarded.token({"admin": True}, nbf=time.time() + 60),
        guarded.token({"admin": True}, aud="other"),
        guarded.token({"admin": True}, jti="stolen"),
        guarded.token({"admin": True}, sub="mallory"),
        guarded.token({"admin": True}, sub="mallory", iat=time.time() - 60),
        guarded.token({"admin": True, "namespace": "other"}),
        guarded.admin[:-4] + "AAAA",
        guarded.admin.rpartition(".")[0] + ".",
        guarded.admin + "." + "x" * 7000,
    ]
    for worker in range(2):
        path = path_of(template, "chat.tavern", await client.name_at(1 - worker, "bob"))
        for token in wrong:
            status, content = await client.ask(worker, method, path, token, body={})
            assert (status, content["error"]["code"]) == (401, "unauthorized"), token
        # Neither the headers of another worker, nor a cookie, replace a token
        for headers in (
            {"Streams_Forwarded": "1"},
            {"Streams_Forwarded": "1", "Streams_Read_After": "0"},
            {"X_Forwarded_For": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
            {"Cookie": f"token={guarded.admin}"},
            {"Sec_WebSocket_Protocol": f"streams.v1, streams.token.{guarded.admin}"},
        ):
            status, _ = await client.ask(worker, method, path, body={}, **headers)
            assert status == 401, headers
        status, _ = await client.ask(worker, method, f"{path}?access_token={guarded.admin}")
        assert status == 401


@pytest.mark.parametrize(("method", "template"), GUARDED)
async def test_no_endpoint_gives_what_the_token_does_not_grant(
    client: Client, method: str, template: str
) -> None:
    # Given tokens with few permissions, and a body that suits every path
    guarded = client.guarded
    body = {"sender": "bob", "body": "x"} if template.endswith("/messages") else {"upto": 1}
    tokens = [guarded.bob, guarded.token({"rate": 0}), guarded.observer]

    for worker in range(2):
        # When resources of others are requested, at their owner and at the other worker
        for owner in range(2):
            queue = await client.name_at(owner, "ann")
            for group, one in (("news", queue), ("chat.tavern", queue), ("news", "bob")):
                path = path_of(template, group, one)
                for token in tokens:
                    # Then both workers refuse, except where the token does grant it
                    if _is_granted(method, template, group, one, token, guarded):
                        continue
                    for headers in ({}, {"Streams_Forwarded": "1"}):
                        status, content = await client.ask(
                            worker, method, path, token, body, **headers
                        )
                        assert status == 403, (path, token, content)
                        assert content["error"]["code"] == "forbidden"
                        if method == "GET":
                            status, _ = await client.ask(worker, "HEAD", path, token)
                            assert status == 403


def _is_granted(
    method: str, template: str, group: str, queue: str, token: str, guarded: Guarded
) -> bool:
    """Tell whether the token grants this request; independent of the code under test."""
    bob, names = token == guarded.bob, template.count("{")
    if names == 0:
        return token == guarded.observer and "tables" not in template
    in_group, own = group == "chat.tavern", queue == "bob"
    if "{group}" in template and "{queue}" in template:
        return bob and in_group and own
    if "{group}" in template:
        return bob and in_group
    if "{queue}" in template:
        return bob and own and (method, template) != ("POST", "/v1/queues/{queue}/messages")
    return False


async def test_the_refused_requests_changed_nothing(client: Client) -> None:
    admin = client.guarded.admin
    for worker in range(2):
        for queue in [await client.name_at(owner, "ann") for owner in range(2)]:
            status, content = await client.ask(worker, "GET", f"/v1/queues/{queue}", admin)
            assert status == 200
            assert (content["depth"], content["groups"], content["session"]) == (0, 0, None)
        status, content = await client.ask(worker, "GET", "/v1/groups/news/queues", admin)
        assert (status, content["queues"]) == (200, [])


NOT_BOBS: list[dict[str, Any]] = [
    {"type": "bind", "group": "news", "queue": "bob"},
    {"type": "bind", "group": "chat.tavern", "queue": "ann"},
    {"type": "bind_pattern", "group": "chat.tavern", "queue": "ann", "pattern": "#"},
    {"type": "unbind_pattern", "group": "chat.tavern", "queue": "ann", "pattern": "#"},
    {"type": "unbind", "group": "chat.tavern", "queue": "ann"},
    {"type": "message", "group": "news", "body": "x"},
    {"type": "message", "queue": "bob", "body": "x"},
    {"type": "message", "group": "@ann", "body": "x"},
    {"type": "message", "group": "chat.tavern", "body": "x", "sender": "ann"},
    {"type": "ack", "queue": "ann", "upto": 5},
    {"type": "open", "queue": "ann", "session": "s"},
    {"type": "open", "queue": "bob", "session": "s", "groups": ["chat.a", "news"]},
    {"type": "close", "queue": "ann", "session": "s"},
    {"type": "touch", "queue": "ann", "session": "s"},
    {"type": "nack", "queue": "ann", "seqs": [1]},
    {"type": "configure", "queue": "ann"},
    {"type": "configure", "queue": "bob", "dead_letter": "ann"},
    {"type": "purge", "queue": "ann"},
    {"type": "delete", "queue": "ann"},
]


def test_every_event_type_is_tried() -> None:
    assert {event["type"] for event in NOT_BOBS} == set(EVENT_TYPES)


@pytest.mark.parametrize("event", NOT_BOBS)
async def test_every_event_is_checked_on_every_path(client: Client, event: dict[str, Any]) -> None:
    guarded = client.guarded
    allowed = {"type": "message", "group": "chat.hidden", "body": "x"}
    lines = "\n".join(map(json.dumps, [allowed, event])).encode()
    frame = {**event, "type": "publish"} if event["type"] == "message" else event
    path = "/v1/groups/chat.hidden/queues/bob-hidden"
    assert (await client.ask(0, "PUT", path, guarded.bob))[0] == 204
    for worker in range(2):
        # When it is one line of many, then none of them is sent
        for headers in ({}, {"Streams_Forwarded": "1"}):
            status, content = await client.ask(
                worker, "POST", "/v1/events", guarded.bob, lines, **headers
            )
            assert status == 403, content
            assert content["error"]["message"].startswith("line 2: ")
        # When it comes on a stream, then it is refused and the stream continues
        async with await client.stream(worker, guarded.bob) as stream:
            await stream.send_json({**frame, "ref": 1})
            await stream.send_json({"type": "ping", "ref": 2})
            refused, pong = await stream.receive_json(), await stream.receive_json()
            assert (refused["type"], refused["code"], refused["ref"]) == ("error", "forbidden", 1)
            assert pong["type"] == "pong"
        status, _ = await client.ask(worker, "POST", "/v1/events", None, lines)
        assert status == 401
        status, content = await client.ask(
            worker, "GET", "/v1/queues/bob-hidden/messages", guarded.bob
        )
        assert (status, content["messages"]) == (200, [])


async def test_another_principals_queue_is_not_streamed(client: Client) -> None:
    for worker in range(2):
        for owner in range(2):
            queue = await client.name_at(owner, "ann-stream")
            sent, _ = await client.ask(
                worker, "POST", f"/v1/queues/{queue}/messages", client.guarded.admin, {"body": "x"}
            )
            assert sent == 201
            for forwarded in ({}, {"Streams-Forwarded": "1"}):
                token = client.guarded.bob
                async with await client.stream(worker, token, forwarded) as stream:
                    for kind in ("unsubscribe", "credit"):
                        await stream.send_json({"type": kind, "queue": queue, "more": 1})
                        assert (await stream.receive_json())["type"] == "error"
                    await stream.send_json({"type": "subscribe", "queue": queue})
                    assert (await stream.receive_json())["code"] == "forbidden"
                    await stream.send_json({"type": "ping"})
                    assert (await stream.receive_json())["type"] == "pong"


# Granted -------------------------------------------------------------------------------------


async def test_what_is_granted_works_through_any_worker(client: Client) -> None:
    guarded = client.guarded
    for worker in range(2):
        for owner in range(2):
            queue = await client.name_at(owner, f"bob{worker}")
            group = f"chat.{worker}{owner}"

            # Given a queue of bob's own, bound to a group
            path = f"/v1/groups/{group}/queues/{queue}"
            assert (await client.ask(worker, "PUT", path, guarded.bob))[0] == 204
            await _until_bound(client, worker, queue)

            # When he publishes to the group without a sender
            status, _ = await client.ask(
                worker, "POST", f"/v1/groups/{group}/messages", guarded.bob, {"body": "hello"}
            )
            assert status == 201

            # Then it arrives under his name
            path = f"/v1/queues/{queue}/messages?wait=60"
            status, content = await client.ask(worker, "GET", path, guarded.bob)
            assert status == 200, content
            (message,) = content["messages"]
            assert (message["sender"], message["body"]) == ("bob", "hello")

            # And on a stream, and as server-sent events
            async with await client.stream(worker, guarded.bob) as stream:
                await stream.send_json({"type": "subscribe", "queue": queue, "ref": 1})
                assert (await stream.receive_json())["type"] == "subscribed"
                assert (await stream.receive_json(timeout=120))["seq"] == message["seq"]
            url = f"{guarded.workers.urls[worker]}/v1/queues/{queue}/events"
            headers = {"Authorization": f"Bearer {guarded.bob}"}
            async with client.session.get(url, headers=headers) as events:
                assert events.status == 200
                assert events.headers["Server"] == "streams"
                assert events.headers["X-Content-Type-Options"] == "nosniff"
                while not (await events.content.readline()).startswith(b"data: "):
                    pass
            acked = await client.ask(
                worker, "POST", f"/v1/queues/{queue}/acks", guarded.bob, {"upto": message["seq"]}
            )
            assert acked[0] == 204


async def _until_bound(client: Client, worker: int, queue: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        status, content = await client.ask(
            worker, "GET", f"/v1/queues/{queue}/groups", client.guarded.bob
        )
        if status == 200 and content["groups"]:
            return
        assert time.monotonic() < deadline, content
        await asyncio.sleep(0.05)


async def test_public_endpoints_need_no_token(client: Client) -> None:
    for worker in range(2):
        for method, template in ENDPOINTS:
            if ACCESS[method, template] is anybody and "{" not in template:
                status, content = await client.ask(worker, method, template)
                assert status == 200
                assert client.guarded.namespace not in str(content)


async def test_what_an_observer_and_an_admin_may_do(client: Client) -> None:
    guarded = client.guarded
    for worker in range(2):
        for path in ("/v1/cluster", "/metrics"):
            assert (await client.ask(worker, "GET", path, guarded.observer))[0] == 200
        path = "/v1/tables/queues/0/rows"
        assert (await client.ask(worker, "GET", path, guarded.admin))[0] == 200
        status, _ = await client.ask(
            worker, "POST", "/v1/queues/x/messages", guarded.admin, {"body": "x", "sender": "any"}
        )
        assert status == 201


# Streams ------------------------------------------------------------------------------------


async def test_a_stream_can_authenticate_late_and_renew_its_token(client: Client) -> None:
    guarded = client.guarded
    queue = await client.name_at(1, "bob-late")
    async with await client.stream(0) as stream:
        # Given a stream without a token, on which everything is refused
        for frame in (
            {"type": "subscribe", "queue": queue},
            {"type": "publish", "group": "chat.a", "body": "x"},
            {"type": "auth", "token": "x"},
            {"type": "auth", "token": guarded.token({"admin": True}, key=guarded.other_key)},
        ):
            await stream.send_json(frame)
            assert (await stream.receive_json())["code"] in ("forbidden", "unauthorized")

        # When it sends one, then requests succeed, at the other worker too
        await stream.send_json({"type": "auth", "token": guarded.bob, "ref": 1})
        assert await stream.receive_json() == {"type": "authenticated", "ref": 1}
        await stream.send_json({"type": "subscribe", "queue": queue})
        assert (await stream.receive_json())["type"] == "subscribed"
        sent, _ = await client.ask(
            1, "POST", f"/v1/queues/{queue}/messages", guarded.admin, {"body": "x"}
        )
        assert sent == 201
        assert (await stream.receive_json(timeout=120))["body"] == "x"

        # When the next token has another subject, then the first stays in force
        other = guarded.token({"admin": True}, sub="ann")
        await stream.send_json({"type": "auth", "token": other})
        assert (await stream.receive_json())["code"] == "forbidden"

        # When the next token grants less, then the other subscriptions end
        less = guarded.token({"publish": ["chat.*"]}, sub="bob")
        await stream.send_json({"type": "auth", "token": less})
        assert (await stream.receive_json())["type"] == "authenticated"
        assert (await stream.receive_json())["queue"] == queue
        await client.ask(1, "POST", f"/v1/queues/{queue}/messages", guarded.admin, {"body": "y"})
        with pytest.raises(TimeoutError):
            await stream.receive_json(timeout=1)


async def test_a_browser_sends_its_token_as_a_subprotocol(client: Client) -> None:
    guarded = client.guarded
    protocols = ("streams.v1", f"streams.token.{guarded.bob}")
    async with await client.stream(0, protocols=protocols) as stream:
        assert stream.protocol == "streams.v1"
        await stream.send_json({"type": "subscribe", "queue": "bob"})
        assert (await stream.receive_json())["type"] == "subscribed"
    for wrong in ((f"streams.token.{guarded.bob}",), ("streams.v1", "streams.token.x")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.stream(0, protocols=wrong)
        assert refused.value.status in (400, 401)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.stream(0, guarded.bob, origin="https://evil.example.org")
    assert refused.value.status == 403


async def test_a_stream_ends_with_its_token(client: Client) -> None:
    # Given a token that is valid for six more seconds, thanks to the leeway of ten
    guarded = client.guarded
    queue = await client.name_at(1, "bob-short")
    short = guarded.token(BOB, sub="bob", exp=time.time() - 4)
    async with await client.stream(0, short) as stream:
        await stream.send_json({"type": "subscribe", "queue": queue})

        # Then the server closes the stream and says why
        while (message := await stream.receive(timeout=120)).type is aiohttp.WSMsgType.TEXT:
            assert json.loads(message.data)["type"] == "subscribed"
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
        assert "expired" in str(message.extra)
    assert (await client.ask(0, "GET", f"/v1/queues/{queue}", short))[0] == 401


async def next_but_moves(stream: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """Receive the next frame that does not tell of a partition that moves, as under load."""
    while True:
        message = await stream.receive(timeout=120)
        if message.type is not aiohttp.WSMsgType.TEXT:
            return message
        if json.loads(message.data)["type"] not in ("unavailable", "subscribed"):
            return message


async def test_open_requests_end_when_their_token_is_revoked(client: Client) -> None:
    # Given a stream, server-sent events, long polls and waits for leases at both workers, with an
    # old token of a subject, and a stream with a newer token of that subject
    guarded, began = client.guarded, time.time()
    old = guarded.token(BOB, sub="bob-laptop", iat=began - 10, jti="bob-1")
    new = guarded.token(BOB, sub="bob-laptop", iat=began, jti="bob-2")
    queue = await client.name_at(1, "bob-revoked")
    url = guarded.workers.urls[0] + f"/v1/queues/{queue}"
    async with (
        await client.stream(0, old) as stream,
        await client.stream(0, new) as kept,
        client.session.get(url + "/events", headers={"Authorization": f"Bearer {old}"}) as events,
    ):
        waits = [
            asyncio.create_task(client.ask(worker, method, f"/v1/queues/{queue}/{path}", old))
            for worker in range(2)
            for method, path in (("GET", "messages?wait=30"), ("POST", "leases?wait=30"))
        ]
        for one in (stream, kept):
            await one.send_json({"type": "subscribe", "queue": queue})
            assert (await one.receive_json(timeout=120))["type"] == "subscribed"
        await asyncio.sleep(0.5)

        # When the older tokens of the subject are revoked
        guarded.revoke(**{"bob-laptop": began})

        # Then all of them end soon, and say why
        message = await next_but_moves(stream)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
        assert "revoked" in str(message.extra)
        for status, content in await asyncio.wait_for(asyncio.gather(*waits), 120):
            assert (status, content["error"]["code"]) == (401, "unauthorized")
        await asyncio.wait_for(events.content.read(), 120)
        status, content = await client.ask(0, "GET", f"/v1/queues/{queue}", old)
        assert (status, "revoked" in content["error"]["message"]) == (401, True)

        # and the newer token stays valid until it is revoked by id; sending it again does not help
        await kept.send_json({"type": "ping"})
        assert json.loads((await next_but_moves(kept)).data)["type"] == "pong"
        assert (await client.ask(0, "GET", f"/v1/queues/{queue}", new))[0] == 200
        guarded.revoke("bob-2")
        assert (await next_but_moves(kept)).data == 4401
    deadline = time.monotonic() + 120
    while (await client.ask(1, "GET", f"/v1/queues/{queue}", new))[0] == 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    async with await client.stream(1) as stream:
        await stream.send_json({"type": "auth", "token": new})
        assert (await stream.receive_json(timeout=120))["code"] == "unauthorized"


# Rates, TLS, logs -----------------------------------------------------------------------------


async def test_a_principal_over_its_rate_is_told_when_to_retry(client: Client) -> None:
    slow = client.guarded.token({"read": ["@slow"], "rate": 0.01}, sub="slow")
    statuses = [
        (await client.ask(0, "GET", "/v1/queues/slow/groups", slow))[0] for _ in range(BURST + 10)
    ]
    assert statuses[-1] == 429
    headers = {"Authorization": f"Bearer {slow}"}
    url = client.guarded.workers.urls[0] + "/v1/queues/slow/groups"
    async with client.session.get(url, headers=headers) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) >= 1
    # A request with many events counts each of them
    many = client.guarded.token({"publish": ["chat.*"], "rate": 0.1}, sub="many")
    line = json.dumps({"type": "message", "group": "chat.a", "body": "x"})
    lines = "\n".join([line] * (BURST + 50)).encode()
    assert (await client.ask(0, "POST", "/v1/events", many, lines))[0] == 200
    assert (await client.ask(0, "POST", "/v1/events", many, lines))[0] == 429


async def test_a_session_counts_each_of_its_groups(client: Client) -> None:
    # Given a token of one event a second, and twelve sessions of 110,000 groups each, at once
    token = client.guarded.token({"bind": ["*"], "read": ["@s*"], "rate": 1}, sub="sessions")
    body = json.dumps({"groups": [f"{n:05x}" for n in range(110_000)]}, separators=(",", ":"))

    # When they are opened over HTTP, and then as lines of a batch
    paths = [f"/v1/queues/s{n}/sessions/x" for n in range(12)]
    answers = await asyncio.gather(
        *(client.ask(0, "PUT", path, token, body.encode()) for path in paths)
    )
    statuses = sorted(status for status, _ in answers)

    # Then one is done, and nothing is admitted afterwards
    assert statuses == [204] + [429] * 11
    assert (await client.ask(0, "PUT", paths[0], token))[0] == 429
    line = json.dumps({"type": "bind", "group": "g", "queue": "s1"}).encode()
    assert (await client.ask(0, "POST", "/v1/events", token, line))[0] == 429
    async with await client.stream(0) as stream:
        await stream.send_json({"type": "auth", "token": token})
        assert (await stream.receive_json(timeout=240))["code"] == "rate_limited"


async def test_streams_share_the_debt_of_their_token(client: Client) -> None:
    # Given 200 streams of a token of one event a second
    guarded = client.guarded
    scopes = {"publish": ["@debt"], "bind": ["*"], "read": ["@debt"], "rate": 1}
    token = guarded.token(scopes, sub="debtor")
    streams = []
    for _ in range(BURST):
        stream = await client.stream(0)
        await stream.send_json({"type": "auth", "token": token})
        assert (await stream.receive_json(timeout=240))["type"] == "authenticated"
        streams.append(stream)

    # whose bearer is 50,000 events in debt
    groups = {"groups": [f"{n:05x}" for n in range(50_000)]}
    async with asyncio.timeout(240):
        status, session = 429, "/v1/queues/debt/sessions/x"
        while status == 429:
            await asyncio.sleep(0.2)
            status, _ = await client.ask(0, "PUT", session, token, groups)
    assert status == 204
    send = "/v1/queues/debt/messages"
    assert (await client.ask(0, "POST", send, token, {"body": "x"}))[0] == 429

    # When each publishes three messages
    for stream in streams:
        for number in range(3):
            await stream.send_json({"type": "publish", "queue": "debt", "body": "x", "ref": number})

    # Then they are refused, with the time to come again, and nothing was sent
    for stream in streams:
        refused = await stream.receive_json(timeout=240)
        assert (refused["type"], refused["code"], refused["ref"]) == ("error", "rate_limited", 0)
        assert refused["retry_after"] > 40_000
    await asyncio.gather(*(stream.close() for stream in streams))
    status, summary = await client.ask(0, "GET", "/v1/queues/debt", guarded.admin)
    assert (status, summary["depth"]) == (200, 0)


async def test_the_gateway_requires_tls_1_2(client: Client) -> None:
    url = URL(client.guarded.workers.urls[0])
    assert url.scheme == "https"
    with pytest.raises(aiohttp.ClientError):
        await client.session.get(url.with_scheme("http") / "healthz")
    old = ssl.create_default_context()
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.session.get(url / "healthz", ssl=old)
    stranger = ssl.create_default_context()
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await client.session.get(url / "healthz", ssl=stranger)


async def test_a_client_that_never_starts_tls_is_disconnected(client: Client) -> None:
    url = URL(client.guarded.workers.urls[0])
    reader, writer = await asyncio.open_connection(url.host, url.port)
    async with asyncio.timeout(HANDSHAKE_SECONDS + 120):
        assert await reader.read() == b""
    writer.close()


async def test_commands_send_a_token(client: Client) -> None:
    guarded = client.guarded
    worker = guarded.workers.processes[0]

    def inspect(token: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "faust", "-A", "streams.app", "inspect", "queue", "x"],
            env={**worker.environment, "STREAMS_TOKEN": token},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    shown = await asyncio.to_thread(inspect, guarded.admin)
    assert shown.returncode == 0, shown.stderr
    refused = await asyncio.to_thread(inspect, guarded.bob)
    assert refused.returncode == 1
    assert "grant" in refused.stderr
    assert guarded.bob not in refused.stderr


async def test_the_python_client_renews_its_token_in_time(client: Client) -> None:
    # Given tokens of which the first is valid for six more seconds, thanks to the leeway of ten
    guarded = client.guarded
    given: list[str] = []

    async def fresh() -> str:
        left = -4 if not given else 600
        given.append(guarded.token(BOB | {"rate": 0}, sub="bob-fresh", exp=time.time() + left))
        return given[-1]

    queue = await client.name_at(0, "bob-fresh")
    sent = f"/v1/queues/{queue}/messages"
    async with (
        streams.client.Client(guarded.workers.urls[1], token=fresh, ssl=guarded.tls) as bob,
        bob.subscribe(queue) as deliveries,
    ):
        await client.ask(0, "POST", sent, guarded.admin, {"body": "one"})
        assert (await asyncio.wait_for(anext(deliveries), 120)).text == "one"
        (connection,) = deliveries._connections

        # When the first has expired, then the stream continues with the second
        await asyncio.sleep(8)
        await client.ask(0, "POST", sent, guarded.admin, {"body": "two"})
        assert (await asyncio.wait_for(anext(deliveries), 120)).text == "two"
        assert deliveries._connections == {connection}
        assert len(given) == 2

        # And a revoked token is replaced
        guarded.revoke(**{"bob-fresh": time.time() + 1})
        deadline = time.monotonic() + 120
        while len(given) == 2:
            assert time.monotonic() < deadline
            try:
                await bob.queue(queue)
            except streams.client.Refused:
                break
            await asyncio.sleep(0.2)
        assert len(given) > 2


async def test_the_logs_contain_refusals_and_no_secrets(client: Client) -> None:
    guarded = client.guarded
    seen = [guarded.bob, guarded.admin, guarded.observer]
    secret = "hush-hush-" + uuid.uuid4().hex
    await client.ask(0, "GET", f"/v1/queues/ann?{secret}", guarded.bob)
    for text in (secret, f"a.{secret}.c"):
        await client.ask(0, "GET", "/v1/queues/ann", text)
        async with await client.stream(0) as stream:
            await stream.send_json({"type": "auth", "token": text})
            answer = await stream.receive_json()
            assert secret not in json.dumps(answer)
    for header in (f"Bearer {secret}" + "x" * 9000, f"Bearer {secret}\0"):
        url = URL(guarded.workers.urls[0])
        reader, writer = await asyncio.open_connection(url.host, url.port, ssl=guarded.tls)
        writer.write(f"GET /v1/cluster HTTP/1.1\r\nAuthorization: {header}\r\n\r\n".encode())
        assert secret.encode() not in await reader.readuntil(b"}}")
        writer.close()
    _, cluster = await client.ask(0, "GET", "/v1/cluster", guarded.admin)
    _, metrics = await client.ask(0, "GET", "/metrics", guarded.admin)

    logs = guarded.logs
    assert "refused with 403 forbidden: GET /v1/queues/{queue} from 127.0.0.1" in logs
    assert "refused with 401 unauthorized" in logs
    assert "Traceback" not in logs
    for text in (logs, json.dumps(cluster), metrics.decode()):
        assert secret not in text
        assert "eyJ" not in text  # the beginning of every token
        assert "PRIVATE" not in text
        assert all(token.rpartition(".")[2] not in text for token in seen)


# Starting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["STREAMS_HTTP_HOST", "--web-bind"])
def test_a_worker_without_authentication_does_not_listen_publicly(tmp_path: Path, how: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMS_")}
    environment |= {"STREAMS_DATA": str(tmp_path), "STREAMS_BROKERS": "127.0.0.1:1"}
    command = [sys.executable, "-m", "faust", "-A", "streams.app", "worker"]
    if how.startswith("--"):
        command += [how, "0.0.0.0"]
    else:
        environment[how] = "0.0.0.0"

    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=180
    )

    assert ended.returncode == 1, ended.stderr
    assert not is_loopback("0.0.0.0")
    said = [line for line in ended.stderr.splitlines() if line.startswith("streams: ")]
    assert len(said) == 1
    assert "STREAMS_AUTH_KEYS" in said[0]
    assert "Traceback" not in ended.stderr + ended.stdout
