"""Memory of a worker whose clients stop anywhere: KiB for each connection, in each state.

The clients are sockets: no library leaves off in the middle of a frame.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import trustme
from two_workers import run_workers
from yarl import URL

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers
from streams.security.signing import make_key, sign

CLIENTS = 120
LIMIT_KIB = 96
"""Most KiB of resident memory for one connection that has shown no token."""
REMAINS_KIB = 8 * 1024
"""Most memory that a worker keeps once all clients are gone."""
SECONDS = 240
"""How long anything may take."""
FRAME_BYTES = 1_600_000

UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
OPEN = UPGRADE + b"\r\n"
POST = b"POST /v1/events HTTP/1.1\r\nHost: x\r\n"
_BODY = b"x" * FRAME_BYTES
HALF_A_BODY = POST + b"Content-Length: 9999999\r\n\r\n" + _BODY


def frame(first: int, size: int, payload: bytes, *, mask: bool = True) -> bytes:
    """Return a frame of `size` bytes of payload, as far as `payload` goes."""
    masked = 0x80 if mask else 0
    if size < 126:
        head = bytes([first, masked | size])
    elif size < 1 << 16:
        head = bytes([first, masked | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, masked | 127]) + size.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if mask else b"") + payload


def masked_text(content: object) -> bytes:
    text = json.dumps(content).encode()
    return frame(0x81, len(text), text)


BEFORE_A_TOKEN = {
    "silent": b"",
    "half a request line": b"GET /v1/que",
    "half of the headers": b"GET / HTTP/1.1\r\n" + b"".join(
        b"X-%d: %b\r\n" % (number, b"x" * 4000) for number in range(100)
    ),
    "one header without an end": b"GET / HTTP/1.1\r\nX: " + _BODY,
    "half a body": HALF_A_BODY,
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n" + _BODY,
    "half a handshake": UPGRADE,
    "a handshake": OPEN,
    "half a frame": OPEN + frame(0x81, 1_700_000, _BODY),
    "half an unmasked frame": OPEN + frame(0x81, 1_700_000, _BODY, mask=False),
    "a short unmasked frame": OPEN + frame(0x81, 2, b"{}", mask=False),
    "half a header of a frame": OPEN + frame(0x81, 1_700_000, b"")[:5],
    "fragments": OPEN + frame(0x01, 1, b"x") + frame(0x00, 50_000, b"x" * 50_000) * 32,
    "pings between fragments": OPEN + frame(0x01, 1, b"x") + frame(0x89, 125, b"x" * 125) * 12_000,
    "frames without a token": OPEN + masked_text({"type": "ping", "ref": "x" * 200}) * 7000,
    "half a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
}  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """The workers, the first without TLS, and what signs tokens for them."""

    plain: Workers
    tls: Workers
    key: bytes
    namespace: str

    def token(self, **scopes: object) -> str:
        claims = {"aud": "streams", "exp": time.time() + 600, "sub": "ann"}
        return sign({**claims, "streams": {"namespace": self.namespace, **scopes}}, self.key)


@pytest.fixture(scope="module")
def tried(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    folder = tmp_path_factory.mktemp("memory")
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(folder / "tls.pem")
    make_key(folder / "key.pem", folder / "public.pem")
    namespace = f"m{uuid.uuid4().hex[:10]}"
    plain = {"STREAMS_AUTH_KEYS": str(folder / "public.pem")}
    secure = {
        **plain,
        "STREAMS_HTTP_TLS_CERTFILE": str(folder / "tls.pem"),
        "STREAMS_HTTP_TLS_KEYFILE": str(folder / "tls.key"),
    }
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                run_workers(1, kafka, folder / name, namespace + name, port, variables)
            )
            for name, port, variables in (("plain", 27400, plain), ("tls", 27410, secure))
        ]
        yield Tried(workers[0], workers[1], (folder / "key.pem").read_bytes(), namespace + "plain")


def resident(workers: Workers) -> float:
    """Return the KiB of memory that the worker uses, without the files that it has mapped."""
    process = workers.processes[0].process
    assert process is not None
    status = Path(f"/proc/{process.pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if "RssAnon" in line))


_warm = set[str]()


async def ready(workers: Workers) -> float:
    """Return the KiB that a worker uses; it has served clients, so that all it needs is loaded."""
    await alive(workers)
    if workers.urls[0] not in _warm:
        secure = workers.urls[0].startswith("https")
        state = "half a TLS handshake" if secure else "pings between fragments"
        clients = Clients(workers, CLIENTS, lambda number: BEFORE_A_TOKEN[state])
        await growth(workers, clients, 0.0)
        clients.close()
        _warm.add(workers.urls[0])
        # What the clients had is freed some seconds later.
        before = 0.0
        async with asyncio.timeout(SECONDS):
            while abs(before - (now := resident(workers))) > 512:
                before = now
                await asyncio.sleep(4)
    return await settled(workers)


async def alive(workers: Workers) -> None:
    """Wait until the worker answers."""
    deadline = time.monotonic() + SECONDS
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(workers.urls[0] + "/healthz", ssl=False) as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientConnectorError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)


async def settled(workers: Workers) -> float:
    """Return the KiB that the worker uses once it grows no more."""
    before = resident(workers)
    async with asyncio.timeout(SECONDS):
        while True:
            await asyncio.sleep(1)
            now = resident(workers)
            if now <= before + 512:
                return now
            before = now


async def shrunk(workers: Workers, kib: float) -> None:
    """Wait until the worker uses less than this."""
    deadline = time.monotonic() + SECONDS
    while (now := resident(workers)) > kib:
        assert time.monotonic() < deadline, f"{now:.0f} KiB"
        await asyncio.sleep(0.5)


class Clients:
    """Sockets that send as much of a text as the worker takes."""

    def __init__(self, workers: Workers, count: int, text: Callable[[int], bytes]) -> None:
        url = URL(workers.urls[0])
        self.left = {}
        for number in range(count):
            one = socket.create_connection((url.host, url.port), SECONDS)
            one.setblocking(False)
            self.left[one] = memoryview(text(number))

    def push(self) -> bool:
        """Send what can be sent; return whether anything was."""
        sent = False
        for one, rest in self.left.items():
            try:
                while rest:
                    count = one.send(rest)
                    sent, rest = True, rest[count:]
            except BlockingIOError:
                pass
            except OSError:  # the worker has had enough
                rest = rest[:0]
            self.left[one] = rest
        return sent

    def close(self) -> None:
        for one in self.left:
            one.close()


async def growth(workers: Workers, clients: Clients, before: float) -> float:
    """Return by how many KiB for each client the worker grows while they send."""
    most, quiet = 0.0, 0
    async with asyncio.timeout(SECONDS):
        while quiet < 10:
            quiet = 0 if clients.push() else quiet + 1
            await asyncio.sleep(0.1)
            most = max(most, resident(workers))
    return max(0.0, most - before) / len(clients.left)


@pytest.mark.parametrize("state", BEFORE_A_TOKEN)
async def test_a_client_without_a_token_costs_some_kib(tried: Tried, state: str) -> None:
    # Given clients that stop in this state
    workers = tried.tls if "TLS" in state else tried.plain
    before = await ready(workers)
    clients = Clients(workers, CLIENTS, lambda number: BEFORE_A_TOKEN[state])
    try:
        # When they have sent what they can, then each cost little, and others are served
        kib = await growth(workers, clients, before)
        print(f"{state}: {kib:.1f} KiB")
        assert kib < LIMIT_KIB
        await alive(workers)
    finally:
        clients.close()

    # Then what they had comes back
    await shrunk(workers, before + REMAINS_KIB)


SHARED: dict[str, tuple[bytes, bytes]] = {
    "half a frame": (UPGRADE, frame(0x81, 1_700_000, _BODY)),
    # Over the rate of the token: the first waits for its turn.
    "full frames": (UPGRADE, masked_text({"type": "ping", "x": "y" * 250_000}) * 8),
    "half a line of a batch": (POST + b"Content-Length: 9999999\r\n", _BODY[:400_000]),
    "half a batch": (
        POST + b"Content-Length: 9999999\r\n",
        (json.dumps({"type": "message", "group": "g", "body": "x" * 200_000}) + "\n").encode() * 8,
    ),
}
"""The head of a request, to which a token is added, and what comes after it."""


@pytest.mark.parametrize("state", SHARED)
async def test_what_is_half_sent_with_a_token_shares_one_budget(tried: Tried, state: str) -> None:
    # Given more clients with one token than the budget has room for
    workers = tried.plain
    before = await ready(workers)
    head, rest = SHARED[state]
    rate = 0.01 if state == "full frames" else 0
    token = tried.token(read=["@*"], publish=["g"], rate=rate).encode()
    text = head + b"Authorization: Bearer " + token + b"\r\n\r\n" + rest
    clients = Clients(workers, CLIENTS, lambda number: text)
    try:
        # When each sends it, then half of the budget is used at most
        mib = await growth(workers, clients, before) * CLIENTS / 1024
        print(f"{state}, with a token: {mib:.0f} MiB")
        assert mib < 32 + 32
        # and another subject publishes
        other = {"aud": "streams", "exp": time.time() + 600, "sub": "bob"}
        scopes = {"namespace": tried.namespace, "publish": ["g"]}
        bob = sign({**other, "streams": scopes}, tried.key)
        url = workers.urls[0] + "/v1/groups/g/messages"
        headers = {"Authorization": f"Bearer {bob}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(url, json={"body": "x" * 200_000}) as answer,
        ):
            assert answer.status == 201
    finally:
        clients.close()

    # Then what they had goes back to the system
    await shrunk(workers, before + REMAINS_KIB)


HALF_OF_THE_HEADERS = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(
    b"X-%d: %b\r\n" % (number, b"x" * 8000) for number in range(100)
)
SPECIFICATION = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n"
LONG_POLL = b"GET /v1/queues/quiet/messages?wait=30 HTTP/1.1\r\nHost: x\r\n"
WITH_A_TOKEN: dict[str, tuple[bytes, bytes]] = {
    "half of the headers behind a long poll": (LONG_POLL, HALF_OF_THE_HEADERS),
    "half a body behind a long poll": (
        LONG_POLL,
        POST + b"Content-Length: 9999999\r\n\r\n" + _BODY,
    ),
    "answers that are not read": (SPECIFICATION, b""),
    "pings": (UPGRADE, frame(0x89, 125, b"x" * 125) * 12_000),
    "small messages": (UPGRADE, masked_text({"type": "ping"}) * 20_000),
}
"""As `SHARED`."""
LIMIT_WITH_A_TOKEN_KIB = 256


@pytest.mark.parametrize("state", WITH_A_TOKEN)
async def test_a_client_with_a_token_costs_some_kib(tried: Tried, state: str) -> None:
    # Given clients with a token that stop in this state
    workers = tried.plain
    before = await ready(workers)
    head, rest = WITH_A_TOKEN[state]
    token = tried.token(read=["@*"], rate=0).encode()
    text = head + b"Authorization: Bearer " + token + b"\r\n\r\n"
    text = text * 500 if head == SPECIFICATION else text + rest
    clients = Clients(workers, CLIENTS, lambda number: text)
    try:
        # When they have sent what they can, then each cost little, and others are served
        kib = await growth(workers, clients, before)
        print(f"{state}, with a token: {kib:.1f} KiB")
        assert kib < LIMIT_WITH_A_TOKEN_KIB
        await alive(workers)
    finally:
        clients.close()

    # Then what they had comes back
    await shrunk(workers, before + REMAINS_KIB)


async def test_a_token_may_come_with_other_frames(tried: Tried) -> None:
    # Given a client that sends its token and much more, without waiting for an answer
    token = tried.token(read=["@*"], rate=0)
    url = tried.plain.urls[0] + "/v1/stream"
    frames = 400
    async with (
        asyncio.timeout(SECONDS),
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as stream,
    ):
        texts = [json.dumps({"type": "auth", "token": token})]
        texts += [json.dumps({"type": "ping", "ref": f"{n:0200}"}) for n in range(frames)]
        await asyncio.gather(*(stream.send_str(text) for text in texts))

        # Then it is answered in full
        assert (await stream.receive_json())["type"] == "authenticated"
        for number in range(frames):
            assert await stream.receive_json() == {"type": "pong", "ref": f"{number:0200}"}
        # and a frame with the largest body is taken
        await stream.send_json({"type": "ping", "ref": 1, "x": "y" * 1_000_000})
        assert (await stream.receive_json())["type"] == "error"
