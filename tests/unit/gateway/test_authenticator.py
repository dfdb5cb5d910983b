"""Authentication: tokens, keys, revocation, rate limits and cross-site requests."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from streams.errors import BadToken, SettingsError, Unavailable
from streams.gateway.auth import authenticator as authenticator_module
from streams.gateway.auth import keyring as keyring_module
from streams.gateway.auth.access import ACCESS, Rule, any_token, anybody, token_later
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.auth.principal import ANONYMOUS, UNRESTRICTED
from streams.gateway.http.errors import HTTPError
from streams.gateway.routes import ROUTES
from streams.security import tokens
from streams.settings import Settings

KEY = ed25519.Ed25519PrivateKey.generate()
INBOX = ("GET", "/v1/queues/{queue}/messages")


def public_pem(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(key: ed25519.Ed25519PrivateKey, kid: str) -> dict[str, Any]:
    public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": kid}


def token(key: ed25519.Ed25519PrivateKey = KEY, kid: str | None = None, **more: Any) -> str:
    claims = {"aud": "streams", "exp": time.time() + 60, "streams": {}, **more}
    return jwt.encode(claims, key, "EdDSA", headers={"kid": kid} if kid else None)


def request(method: str = "GET", **headers: str) -> web.Request:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request(method, "/v1/x", given)


def bearing(text: str) -> web.Request:
    return request(Authorization=f"Bearer {text}")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "keys.pem").write_bytes(public_pem(KEY))
    return Settings.from_env({"STREAMS_AUTH_KEYS": str(tmp_path / "keys.pem")})


@pytest.fixture
async def authenticator(settings: Settings) -> AsyncIterator[Authenticator]:
    authenticator = Authenticator(settings)
    await authenticator.open()
    yield authenticator
    await authenticator.close()


# The table -------------------------------------------------------------------------------


def test_every_route_has_an_access_rule_and_every_rule_a_route() -> None:
    routes = {(route.method, route.template) for route in ROUTES}

    assert routes == set(ACCESS)


def test_the_paths_without_a_specific_permission() -> None:
    # A new path does not get in among these by accident: the tests of refusals skip them.
    def with_rule(rule: Rule) -> set[str]:
        return {template for (_, template), given in ACCESS.items() if given is rule}

    assert with_rule(anybody) == {
        "/",
        "/page/{file}",
        "/healthz",
        "/readyz",
        "/v1/openapi.json",
    }
    assert with_rule(token_later) == {"/v1/stream"}
    assert with_rule(any_token) == {
        "/v1/events",
        "/v1/exchanges",
        "/v1/amqp/connections/{connection}",
    }


async def test_a_path_without_a_rule_is_closed(authenticator: Authenticator) -> None:
    for one in (authenticator, Authenticator(Settings())):
        with pytest.raises(HTTPError) as refused:
            await one.authenticate(bearing(token(streams={"admin": True})), "GET", "/v1/new")
        assert refused.value.status == 403


# Tokens -----------------------------------------------------------------------------------


async def test_a_token_is_verified_once_and_cached_until_it_expires(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a token that was verified
    text = token(sub="bob")
    first = await authenticator.authenticate(bearing(text), *INBOX)
    assert (first.permissions.subject, first.token) == ("bob", text)

    # When no token can be verified any more
    checks: list[str] = []

    def no_more(token: str, *_: Any) -> None:
        checks.append(token)
        raise BadToken("checked again")

    monkeypatch.setattr(tokens, "verify", no_more)

    # Then it is cached; another token is not, and neither is this one once it has expired
    assert (
        await authenticator.authenticate(bearing(text), *INBOX)
    ).permissions is first.permissions
    assert checks == []
    with pytest.raises(BadToken):
        await authenticator.authenticate(bearing(token(sub="ann")), *INBOX)
    monkeypatch.setattr(time, "time", lambda: first.permissions.expires_at + 0.1)
    assert first.seconds_left == 0
    with pytest.raises(BadToken, match="again"):
        await authenticator.authenticate(bearing(text), *INBOX)


async def test_the_token_cache_is_bounded(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator_module, "MAX_CACHED", 3)
    for number in range(10):
        await authenticator.verify(token(sub=str(number)))
    assert len(authenticator._cached) == 3


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Token x", "bearer,x", "x"],
)
async def test_headers_that_hold_no_bearer_token(authenticator: Authenticator, header: str) -> None:
    with pytest.raises(HTTPError) as refused:
        await authenticator.authenticate(request(Authorization=header), *INBOX)
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


async def test_without_a_token(authenticator: Authenticator) -> None:
    with pytest.raises(HTTPError) as refused:
        await authenticator.authenticate(request(), *INBOX)
    assert refused.value.status == 401
    assert await authenticator.authenticate(request(), "GET", "/v1/stream") is ANONYMOUS
    assert await authenticator.authenticate(request(), "GET", "/healthz") is ANONYMOUS
    # A probe is not refused for a token that is wrong, either
    assert await authenticator.authenticate(bearing("x"), "GET", "/healthz") is ANONYMOUS


async def test_a_token_as_subprotocol_is_accepted_only_on_a_stream(
    authenticator: Authenticator,
) -> None:
    offered = request(Sec_WebSocket_Protocol=f"streams.v1, streams.token.{token(sub='bob')}")

    assert (
        await authenticator.authenticate(offered, "GET", "/v1/stream")
    ).permissions.subject == "bob"
    with pytest.raises(HTTPError):
        await authenticator.authenticate(offered, *INBOX)


async def test_a_token_of_any_bytes(authenticator: Authenticator) -> None:
    # As the server hands on bytes outside ASCII
    for text in ("\udce9", "a.b.\udce9", "é", "\ud800"):
        with pytest.raises(BadToken):
            await authenticator.verify(text)


async def test_a_token_of_any_length(authenticator: Authenticator) -> None:
    for length in (5_000, 1_000_000):
        with pytest.raises(BadToken, match="limit"):
            await authenticator.verify("x" * length)


async def test_all_tokens_of_a_subject_share_one_rate_limit(tmp_path: Path) -> None:
    (tmp_path / "keys.pem").write_bytes(public_pem(KEY))
    authenticator = Authenticator(
        Settings(auth_keys=tmp_path / "keys.pem", rate_limit_per_second=0.01, rate_limit_burst=4)
    )
    await authenticator.open()
    for number in range(4):
        await authenticator.authenticate(bearing(token(sub="bob", jti=str(number))), *INBOX)

    with pytest.raises(HTTPError) as refused:
        await authenticator.authenticate(bearing(token(sub="bob")), *INBOX)

    assert refused.value.status == 429
    assert int(refused.value.headers["Retry-After"]) >= 1
    await authenticator.authenticate(bearing(token(sub="ann")), *INBOX)
    await authenticator.authenticate(bearing(token()), *INBOX)
    for _ in range(20):
        await authenticator.authenticate(bearing(token(sub="busy", streams={"rate": 0})), *INBOX)
    await authenticator.close()


async def test_a_frame_over_the_rate_waits_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator_module, "LONGEST_PAUSE_SECONDS", 0.2)
    (tmp_path / "keys.pem").write_bytes(public_pem(KEY))
    authenticator = Authenticator(
        Settings(auth_keys=tmp_path / "keys.pem", rate_limit_per_second=20, rate_limit_burst=4)
    )
    await authenticator.open()
    ann, bob = [await authenticator.verify(token(sub=name)) for name in ("ann", "bob")]

    # A frame that is a little early waits for its turn
    began = time.monotonic()
    for _ in range(8):
        await authenticator.pace(ann, refusable=True)
    assert time.monotonic() - began >= 0.19

    # and one that counts as several events waits for all of them
    carl = await authenticator.verify(token(sub="carl"))
    began = time.monotonic()
    for _ in range(2):
        await authenticator.pace(carl, refusable=True, events=3)
    assert time.monotonic() - began >= 0.09

    # In debt, a frame that appends something is refused after the longest pause
    authenticator.charge_rest(bob, 10_000)
    for _ in range(2):
        with pytest.raises(HTTPError) as refused:
            await authenticator.pace(bob, refusable=True)
        assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    # while others are only slowed down
    began = time.monotonic()
    await authenticator.pace(bob, refusable=False)
    assert time.monotonic() - began >= 0.19
    # and neither another request nor a request with many events is admitted
    with pytest.raises(HTTPError):
        authenticator.admit(bob)
    with pytest.raises(HTTPError):
        authenticator.charge_rest(bob, 2)
    assert authenticator.pause(bob) > 400
    authenticator.charge_rest(bob, 2, charged=2)  # nothing is left to charge
    await authenticator.close()


async def test_logged_refusals_hold_no_token_and_are_limited(
    authenticator: Authenticator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    text = token(sub="bob")
    principal = await authenticator.verify(text)
    refusal, refused = HTTPError(403, "forbidden", "no"), bearing(text)
    for _ in range(1000):
        authenticator.log_refusal(refusal, refused, INBOX[1], principal)

    assert "refused with 403 forbidden: GET /v1/queues/{queue}/messages" in caplog.text
    assert "subject 'bob'" in caplog.text
    assert text not in caplog.text + repr(principal) + repr(authenticator)
    assert text.rpartition(".")[2] not in caplog.text + repr(principal)
    assert len(caplog.records) < 100


# Keys -------------------------------------------------------------------------------------


async def test_a_new_key_file_replaces_the_old_keys(
    settings: Settings, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_module, "MIN_REFRESH_SECONDS", 0.0)
    assert settings.auth_keys is not None
    new = ed25519.Ed25519PrivateKey.generate()
    old_token = token()
    await authenticator.verify(old_token)

    settings.auth_keys.write_bytes(json.dumps({"keys": [jwk(new, "new")]}).encode())
    assert authenticator._keyring is not None
    assert await authenticator._keyring.refresh()

    await authenticator.verify(token(new, "new"))
    with pytest.raises(BadToken):
        await authenticator.verify(old_token)

    # A file that is broken changes nothing
    settings.auth_keys.write_bytes(b"{}")
    assert not await authenticator._keyring.refresh()
    await authenticator.verify(token(new, "new"))


async def test_unusable_keys_prevent_the_start(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"hello")
    with pytest.raises(SettingsError, match="STREAMS_AUTH_KEYS: no key"):
        await Authenticator(Settings(auth_keys=tmp_path / "keys")).open()


async def test_keys_by_url(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server of keys that is not there yet
    served: list[dict[str, Any]] = []
    asked = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"keys": served}, status=200 if served else 503)

    app = web.Application()
    app.router.add_get("/keys", answer)
    async with TestServer(app) as server:
        settings = Settings.from_env({"STREAMS_AUTH_JWKS_URL": str(server.make_url("/keys"))})
        authenticator = Authenticator(settings)
        monkeypatch.setattr(keyring_module, "MIN_REFRESH_SECONDS", 0.0)
        await authenticator.open()
        with pytest.raises(Unavailable):
            await authenticator.verify(token(kid="first"))
        served.append(jwk(KEY, "first"))
        assert authenticator._keyring is not None
        await authenticator._keyring.refresh()
        await authenticator.verify(token(kid="first"))

        # When a token names a key that is new, then it is fetched
        new = ed25519.Ed25519PrivateKey.generate()
        served.append(jwk(new, "second"))
        await authenticator.verify(token(new, "second"))

        # When tokens name keys that are nowhere, then the server is not asked each time
        monkeypatch.setattr(keyring_module, "MIN_REFRESH_SECONDS", 60.0)
        before = asked
        for number in range(20):
            with pytest.raises(BadToken):
                await authenticator.verify(token(new, f"unknown {number}"))
        assert asked <= before + 1
        await authenticator.close()


async def test_a_url_without_keys_is_an_error() -> None:
    async def moved(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/"})

    async def long(_: web.Request) -> web.Response:
        return web.Response(body=b" " * 300_000)

    async def text(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/moved", moved)
    app.router.add_get("/long", long)
    app.router.add_get("/text", text)
    async with TestServer(app) as server:
        for path, says in (("/moved", "302"), ("/long", "bytes"), ("/text", "no key")):
            url = str(server.make_url(path))
            authenticator = Authenticator(Settings.from_env({"STREAMS_AUTH_JWKS_URL": url}))
            with pytest.raises(SettingsError, match=f"STREAMS_AUTH_JWKS_URL: .*{says}"):
                await authenticator.open()


async def test_an_unreachable_key_server_is_retried(unused_tcp_port_of: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port_of}/keys"
    authenticator = Authenticator(Settings.from_env({"STREAMS_AUTH_JWKS_URL": url}))
    await authenticator.open()
    with pytest.raises(Unavailable):
        await authenticator.verify(token())
    await authenticator.close()


@pytest.fixture
def unused_tcp_port_of() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


# Without tokens, on this machine alone ------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:6066", "127.0.0.1", "localhost:6066", "LOCALHOST", "[::1]:6066", "127.1.2.3"],
)
async def test_requests_from_this_machine_are_accepted(host: str) -> None:
    authenticator = Authenticator(Settings())
    for method in ("GET", "POST"):
        assert await authenticator.authenticate(request(method, Host=host), *INBOX) is UNRESTRICTED
        same = request(method, Host=host, Origin=f"http://{host}".lower())
        assert await authenticator.authenticate(same, *INBOX) is UNRESTRICTED


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.org",
        "127.0.0.1.evil.example.org",
        "localhost.evil.example.org:6066",
        "evil.example.org:127",
        "127.0.0.1@evil.example.org",
        "127.0.0.1, evil.example.org",
        "10.0.0.1",
        "[::2]",
        "0.0.0.0",
        "",
        "[::1",
    ],
)
async def test_a_rebound_host_name_is_refused(host: str) -> None:
    with pytest.raises(HTTPError) as refused:
        await Authenticator(Settings()).authenticate(request(Host=host), *INBOX)
    assert (refused.value.status, refused.value.code) == (403, "bad_host")


@pytest.mark.parametrize(
    "origin", ["http://evil.example.org", "null", "", "http://127.0.0.1:1", "http://localhost:6066"]
)
async def test_a_page_of_another_site_changes_nothing(origin: str) -> None:
    authenticator = Authenticator(Settings())
    for method in ("POST", "PUT", "DELETE"):
        with pytest.raises(HTTPError) as refused:
            await authenticator.authenticate(
                request(method, Host="127.0.0.1:6066", Origin=origin), *INBOX
            )
        assert (refused.value.status, refused.value.code) == (403, "bad_origin")


# Tokens that are taken back ---------------------------------------------------------------


async def test_a_cached_token_can_be_revoked(tmp_path: Path, settings: Settings) -> None:
    # Given a token that was good
    file = tmp_path / "revoked.json"
    file.write_text("{}")
    authenticator = Authenticator(replace(settings, auth_revoked=file))
    await authenticator.open()
    text = token(jti="x", sub="bob")
    principal = await authenticator.verify(text)
    changes: list[bool] = []
    authenticator.revocations.on_change = lambda: changes.append(principal.is_revoked)

    # When it is in the list
    file.write_text('{"tokens": ["x"]}')
    await authenticator.revocations.reload()

    # Then it is not, nor is who has shown it
    with pytest.raises(BadToken, match="revoked"):
        await authenticator.verify(text)
    assert changes == [True]
    assert principal.seconds_left == 0
    await authenticator.verify(token(jti="y", sub="bob"))

    # A list that is broken or gone leaves the one before in force
    for spoil in (lambda: file.write_text("{"), file.unlink):
        spoil()
        with pytest.raises((SettingsError, OSError)):
            await authenticator.revocations.reload()
        with pytest.raises(BadToken, match="revoked"):
            await authenticator.verify(text)
    file.write_text("{}")
    await authenticator.revocations.reload()
    await authenticator.verify(text)
    await authenticator.close()


@pytest.mark.parametrize("content", [None, "", "[]"])
async def test_a_malformed_revocation_list_prevents_the_start(
    tmp_path: Path, settings: Settings, content: str | None
) -> None:
    file = tmp_path / "revoked.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match="STREAMS_AUTH_REVOKED"):
        await Authenticator(replace(settings, auth_revoked=file)).open()
