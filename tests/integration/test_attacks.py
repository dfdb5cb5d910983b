"""Attacks on one worker, which holds: it refuses them, forgets them, and serves everybody else."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import re
import socket
import struct
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from chromium import Chromium, chromium, found
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from two_workers import PARTITIONS, Cluster, run_workers, wait_until_ready
from yarl import URL

from streams.events import records
from streams.events.codec import decode, encode
from streams.fold import BadRecord
from streams.kafka.clients import open_producer
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.partitioner import partition_of
from streams.operate.processes import Workers
from streams.settings import Settings

needs_chromium = pytest.mark.skipif(found() is None, reason="no chromium is installed")

NAMESPACE = "attacks"
PATIENCE = 240.0
SILENCE = 3.0
"""How long a worker says nothing that has no more to say; it closes a connection later."""
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    data = tmp_path_factory.mktemp("attacks")
    with run_workers(1, kafka, data, NAMESPACE, 17866) as started:
        wait_until_ready(started)
        yield started


@pytest.fixture
async def cluster(running: Workers) -> AsyncIterator[Cluster]:
    """The worker, which is the same process before and after each test, and has no traceback."""
    process = running.processes[0].process
    assert process is not None
    timeout = aiohttp.ClientTimeout(total=240)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        cluster = Cluster(running, session)
        yield cluster
        await cluster.get("/healthz")
    running.check()
    assert running.processes[0].process is process
    log = running.processes[0].log.read_text()
    assert "Traceback" not in log, log[-4000:]


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    program = found()
    assert program is not None
    async with chromium(program, tmp_path / "profile") as started:
        yield started


async def connected(cluster: Cluster) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = URL(cluster.urls[0])
    return await asyncio.open_connection(url.host, url.port)


async def exchanged(cluster: Cluster, sent: bytes, answers: int = 1) -> bytes:
    """Send bytes; return all that the worker answers, so many responses and whatever follows."""
    reader, writer = await connected(cluster)
    received = bytearray()
    try:
        writer.write(sent)
        while True:
            enough = len(statuses(received)) >= answers
            async with asyncio.timeout(SILENCE if enough else PATIENCE):
                piece = await reader.read(1 << 16)
            if not piece:
                break
            received += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return bytes(received)


def statuses(received: bytes | bytearray) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


def memory(cluster: Cluster) -> int:
    """Return the resident memory of the worker in bytes."""
    process = cluster.workers.processes[0].process
    assert process is not None
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def descriptors(cluster: Cluster) -> int:
    """Return how many files and sockets the worker has open."""
    process = cluster.workers.processes[0].process
    assert process is not None
    return len(os.listdir(f"/proc/{process.pid}/fd"))


# Request smuggling ----------------------------------------------------------------------------

HIDDEN = (
    b"PUT /v1/groups/smuggled/queues/q HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
)
START = b"POST /v1/groups/seen/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
END_OF_CHUNKS = b"0\r\n\r\n"


def smuggling() -> dict[str, bytes]:
    """Return requests whose end two servers may see in different places, by name."""

    def lengths(*lines: bytes, body: bytes = b"") -> bytes:
        return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body + HIDDEN

    both = str(len(END_OF_CHUNKS) + len(HIDDEN)).encode()
    chunked = b"Transfer-Encoding: chunked"
    length = b"Content-Length: 0"

    def chunks(body: bytes) -> bytes:
        return lengths(chunked, body=body)

    return {
        "length, then chunked": lengths(b"Content-Length: " + both, chunked, body=END_OF_CHUNKS),
        "chunked, then length": lengths(chunked, b"Content-Length: 4", body=END_OF_CHUNKS),
        "two lengths": lengths(length, b"Content-Length: " + str(len(HIDDEN)).encode()),
        "two lengths in one": lengths(b"Content-Length: 0, 90"),
        "length with a sign": lengths(b"Content-Length: +0"),
        "negative length": lengths(b"Content-Length: -1"),
        "length in hex": lengths(b"Content-Length: 0x0"),
        "length with an underscore": lengths(b"Content-Length: 0_0"),
        "length beyond 64 bits": lengths(b"Content-Length: 18446744073709551616"),
        "space before the colon": lengths(b"Transfer-Encoding : chunked", body=END_OF_CHUNKS),
        "folded line": lengths(b"X: y", b" Transfer-Encoding: chunked", length),
        "unknown coding": lengths(b"Transfer-Encoding: xchunked", length, body=END_OF_CHUNKS),
        "chunked is not last": lengths(b"Transfer-Encoding: chunked, identity", body=END_OF_CHUNKS),
        "chunked twice": lengths(chunked, chunked, length, body=END_OF_CHUNKS),
        "coding after a control": lengths(b"Transfer-Encoding: \x0bchunked", body=END_OF_CHUNKS),
        "line ends in LF": START.replace(b"\r\n", b"\n") + b"Transfer-Encoding: chunked\n\n"
        + END_OF_CHUNKS + HIDDEN,
        "CR inside a line": lengths(b"X: y\rTransfer-Encoding: chunked", length),
        "NUL inside a line": lengths(b"X: y\0Transfer-Encoding: chunked", length),
        "chunk size with a sign": chunks(b"+0\r\n\r\n"),
        "chunk size in 0x": chunks(b"0x0\r\n\r\n"),
        "negative chunk size": chunks(b"-1\r\n\r\n"),
        "chunk size beyond 64 bits": chunks(b"10000000000000000\r\n\r\n"),
        "chunk without its end": chunks(b"1\r\nxyz" + END_OF_CHUNKS),
        "chunk ends in LF": chunks(b"1\nx\n0\n\n"),
        "extension with LF": chunks(b"0;x\ny\r\n\r\n"),
        "HTTP/1.0 and chunked": lengths(chunked, body=END_OF_CHUNKS).replace(
            b"HTTP/1.1\r\nHost", b"HTTP/1.0\r\nHost", 1
        ),
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
        "HTTP/0.9": b"GET /v1/groups/seen/queues\r\n" + HIDDEN,
        "space in the target": b"GET / HTTP/1.1\r\nX: /healthz HTTP/1.1\r\n: x\r\n\r\n" + HIDDEN,
    }  # fmt: skip


async def test_no_request_is_smuggled_in_another(cluster: Cluster) -> None:
    # Given requests with unclear ends, each with a second one behind it
    forms = smuggling()
    assert len(forms) >= 18
    clear = START + b"Content-Length: 0\r\n\r\n" + HIDDEN.replace(b"smuggled", b"pipelined")
    assert statuses(await exchanged(cluster, clear, answers=2)) == [400, 204]

    # When they are sent
    answers = await asyncio.gather(*(exchanged(cluster, sent) for sent in forms.values()))

    # Then each is refused as a whole, and the second is not carried out
    seen = {name: statuses(answer) for name, answer in zip(forms, answers, strict=True)}
    assert {name: codes for name, codes in seen.items() if codes != [400]} == {}
    await cluster.session.put(f"{cluster.urls[0]}/v1/groups/smuggled/queues/mine")
    assert (await cluster.get("/v1/groups/smuggled/queues"))["queues"] == ["mine"]


# Decompression bombs --------------------------------------------------------------------------

BOMB_BYTES = 256 * MEBIBYTE


def bomb() -> bytes:
    """Return a quarter of a GiB of spaces, compressed to a thousandth by gzip."""
    return gzip.compress(b" " * MEBIBYTE) * (BOMB_BYTES // MEBIBYTE)


def deflated_bomb() -> bytes:
    """Return the same without gzip's framing, as in a frame of permessage-deflate."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = packer.compress(b" " * MEBIBYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (BOMB_BYTES // MEBIBYTE)


async def test_a_compressed_body_is_refused_before_it_is_unpacked(cluster: Cluster) -> None:
    before = memory(cluster)
    body = bomb()
    for encoding in (
        "gzip",
        "GZIP",
        "x-gzip",
        "deflate",
        "br",
        "zstd",
        "gzip, gzip",
        "identity, gzip",
    ):
        for path in ("/v1/groups/g/messages", "/v1/events", "/v1/queues/q/acks"):
            async with cluster.session.post(
                cluster.urls[0] + path, data=body, headers={"Content-Encoding": encoding}
            ) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (
                    415,
                    "compressed",
                )
    for coding in ("gzip, chunked", "gzip"):
        head = f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: {coding}\r\n\r\n"
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        assert statuses(await exchanged(cluster, head.encode() + chunk))[0] in (400, 415)
    assert memory(cluster) - before < BOMB_BYTES // 2


async def handshake(
    cluster: Cluster, *headers: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """Open a stream by hand; return its connection, and the head of the response."""
    reader, writer = await connected(cluster)
    lines = (
        "GET /v1/stream HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *headers,
    )
    writer.write("\r\n".join([*lines, "", ""]).encode())
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


def frame(first: int, payload: bytes) -> bytes:
    """Return a WebSocket frame as a client sends it, masked with zeros."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + bytes(4) + payload


async def test_a_stream_does_not_unpack_frames(cluster: Cluster) -> None:
    # Given a stream that offers compression, which is not agreed upon
    before = memory(cluster)
    reader, writer, head = await handshake(
        cluster, "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
    )
    assert b" 101 " in head.splitlines()[0]
    assert b"extensions" not in head.lower()

    # When it sends a compressed frame all the same
    writer.write(frame(0xC1, deflated_bomb()))

    # Then the stream ends with a protocol error, and nothing has been unpacked
    async with asyncio.timeout(PATIENCE):
        opcode, size = await reader.readexactly(2)
        payload = await reader.readexactly(size)
    assert (opcode, int.from_bytes(payload[:2])) in ((0x88, 1002), (0x88, 1009))
    writer.close()
    assert memory(cluster) - before < BOMB_BYTES // 2


# Deep and odd JSON ----------------------------------------------------------------------------

ODD_JSON: dict[str, bytes] = {
    "nothing": b"",
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and whole": b"[" * 100_000 + b"]" * 100_000,
    "deep headers": b'{"body":"x","headers":' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "two objects": b'{"body":"x"}{"body":"y"}',
    "trailing comma": b'{"body":"x",}',
    "comment": b'{"body":"x"/**/}',
    "single quotes": b"{'body':'x'}",
    "NaN": b'{"body":NaN}',
    "infinity": b'{"body":"x","expires_at":1e999}',
    "a very long number": b'{"body":"x","expires_at":' + b"9" * 100_000 + b"}",
    "negative zero": b'{"body":"x","priority":-0.0}',
    "a lone surrogate": b'{"body":"\\ud800"}',
    "bytes outside UTF-8": b'{"body":"\xff"}',
    "overlong UTF-8": b'{"body":"\xc0\xaf"}',
    "a control character": b'{"body":"a\nb"}',
    "NUL in an id": b'{"body":"x","id":"a\\u0000b"}',
    "UTF-16": '{"body":"x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"body":"x"}',
    "an object as text": b'{"body":{"a":1}}',
    "text as an object": b'{"body":"x","headers":"a"}',
    "a list as headers": b'{"body":"x","headers":[["a","b"]]}',
    "a number as a header": b'{"body":"x","headers":{"a":1}}',
    "__proto__": b'{"__proto__":{"admin":true},"body":"x"}',
    "an unknown field": b'{"body":"x","origin":{"partition":0,"offset":1,"part":0}}',
    "two bodies": b'{"body":"x","body_base64":"eA=="}',
}


async def test_odd_json_is_an_error_wherever_it_arrives(cluster: Cluster) -> None:
    refused = (400, 413)
    for name, body in ODD_JSON.items():
        url = f"{cluster.urls[0]}/v1/groups/odd/messages"
        async with cluster.session.post(url, data=body) as answer:
            assert answer.status in refused, (name, await answer.text())
            assert (await answer.json())["error"]["code"]
        if body:  # of which a list of events may consist
            line = body.replace(b'{"body"', b'{"type":"message","group":"odd","body"', 1)
            async with cluster.session.post(f"{cluster.urls[0]}/v1/events", data=line) as answer:
                assert answer.status in refused, (name, await answer.text())
    texts = {name: body.decode() for name, body in ODD_JSON.items() if body.isascii() and body}
    async with cluster.session.ws_connect(f"{cluster.urls[0]}/v1/stream") as stream:
        for name, text in texts.items():
            if text == "[]":
                continue  # an array of no frames
            await stream.send_str(
                text.replace('{"body"', '{"type":"publish","group":"odd","body"', 1)
            )
            answered = json.loads(await stream.receive_str(timeout=PATIENCE))
            assert answered["type"] == "error", (name, answered)
    queue = await cluster.session.put(f"{cluster.urls[0]}/v1/groups/odd/queues/odd")
    assert queue.status == 204
    assert (await cluster.get("/v1/queues/odd"))["depth"] == 0


# Slow and vanished clients, floods ------------------------------------------------------------

POST_HEAD = b"POST /v1/groups/g/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UNFINISHED = {
    "nothing": b"",
    "one byte": b"G",
    "half a line": b"GET /v1/clu",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
    "no body": POST_HEAD + b"Content-Length: 1000\r\n\r\n",
    "half a body": POST_HEAD + b'Content-Length: 1000\r\n\r\n{"body":"',
    "half a chunk": POST_HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{",
    "a body that waits": POST_HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    "a long poll": b"GET /v1/queues/slow/messages?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a wait for leases": b"POST /v1/queues/slow/leases?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Length: 0\r\n\r\n",
    "events": b"GET /v1/queues/slow/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}


async def test_clients_that_stop_or_vanish_cost_others_nothing(cluster: Cluster) -> None:
    # Given clients that stop everywhere in a request, and streams that stop within a frame
    before = descriptors(cluster)
    async with AsyncExitStack() as opened:
        writers = []
        for sent in [sent for sent in UNFINISHED.values() for _ in range(10)]:
            _, writer = await connected(cluster)
            writer.write(sent)
            writers.append(writer)
        for number in range(10):
            _, writer, head = await handshake(cluster)
            assert b" 101 " in head
            writer.write(frame(0x81, b"x" * 1000)[: 1 + number * 50])
            writers.append(writer)
        for writer in writers:
            opened.callback(writer.transport.abort)
        waiting = descriptors(cluster) - before
        assert waiting > len(writers) // 2

        # When others send and read, they are served
        for number in range(20):
            await cluster.post("/v1/queues/served/messages", {"body": str(number)})
        await cluster.depth("served", 20)

        # When all vanish, half of them with a reset
        for number, writer in enumerate(writers):
            if number % 2:
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )

    # Then nothing of them is left
    deadline = time.monotonic() + PATIENCE
    while descriptors(cluster) > before + 10 or await long_polls(cluster) > 0:
        assert time.monotonic() < deadline, (before, descriptors(cluster))
        await asyncio.sleep(0.1)


async def long_polls(cluster: Cluster) -> float:
    async with cluster.session.get(f"{cluster.urls[0]}/metrics") as answer:
        found = re.search(r"^streams_long_polls (\S+)", await answer.text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_a_flood_of_pings_stops_at_the_client_that_reads_no_pongs(cluster: Cluster) -> None:
    # Given a stream that sends pings and reads nothing, until the worker takes no more of them
    before = memory(cluster)
    reader, writer, _ = await handshake(cluster)
    transport = writer.transport
    assert isinstance(transport, asyncio.WriteTransport)
    many = frame(0x89, b"p" * 125) * 1000
    sent = 0
    while sent < 400 and transport.get_write_buffer_size() < MEBIBYTE:
        writer.write(many)
        sent += 1
        await asyncio.sleep(0)

    # When others send and read, they are served, and the worker holds little of the flood
    await cluster.post("/v1/queues/flooded/messages", {"body": "x"})
    await cluster.depth("flooded", 1)
    assert memory(cluster) - before < 32 * MEBIBYTE

    # When it reads, then every ping has its pong, and the stream goes on
    writer.write(frame(0x81, b'{"type":"ping","ref":"last"}'))
    pongs, size = 0, 2 + 125
    async with asyncio.timeout(PATIENCE):
        while (first := await reader.readexactly(1)) == b"\x8a":
            await reader.readexactly(size - 1)
            pongs += 1
        assert first == b"\x81"
        (length,) = await reader.readexactly(1)
        assert json.loads(await reader.readexactly(length)) == {"type": "pong", "ref": "last"}
    assert pongs == sent * 1000
    writer.close()


# Random records -------------------------------------------------------------------------------

RANDOM_RECORDS = 960
GOOD_QUEUES = [f"good-{number}" for number in range(24)]


def random_record(chance: random.Random, whole: list[bytes]) -> bytes | None:
    """Return random bytes, with or without a valid beginning, or a damaged event."""
    style = chance.randrange(5)
    if style == 4 and chance.random() < 0.1:
        return None
    if style == 0:
        return chance.randbytes(chance.randrange(300))
    if style == 1:
        return b"\xc3\x01" + chance.randbytes(chance.randrange(100))
    event = bytearray(chance.choice(whole))
    if style == 2:
        return bytes(event[:10]) + chance.randbytes(chance.randrange(200))
    if style == 3:
        return bytes(event[: chance.randrange(len(event))])
    for _ in range(chance.randrange(1, 4)):
        event[chance.randrange(len(event))] ^= 1 << chance.randrange(8)
    return bytes(event)


def is_readable(value: bytes | None) -> bool:
    try:
        decode(value)
    except BadRecord:
        return False
    return True


async def test_random_records_become_dead_letters_and_good_ones_are_folded(
    cluster: Cluster, kafka: EmbeddedKafka
) -> None:
    # Given 960 random records in both topics, with good ones among them
    chance = random.Random(960)
    settings = Settings.from_env({"STREAMS_BROKERS": kafka.brokers, "STREAMS_NAMESPACE": NAMESPACE})
    whole = [
        encode(records.Message(id="m", group="r", sender="s", headers={"a": "b"}, body=b"x" * 40)),
        encode(records.Bind(group="r", queue="rq", session="s")),
        encode(records.Unbind(group="r", queue="rq")),
        encode(records.Ack(queue="rq", upto=1, seqs=(2, 3))),
        encode(records.Open(queue="rq", session="s", groups=("r", "r2"))),
        encode(records.Nack(queue="rq", seqs=(1,))),
    ]
    unreadable: set[tuple[str, int, int]] = set()
    reported: list[tuple[str, bytes | None, tuple[str, int, int]]] = []

    def report(kind: str, value: bytes | None) -> Any:
        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            reported.append((kind, value, (topic, partition, offset)))

        return delivered

    producer = open_producer(settings.librdkafka(), {})
    good = iter(GOOD_QUEUES)
    for number in range(RANDOM_RECORDS):
        for topic in (settings.group_events, settings.queue_events)[number % 2 :][:1]:
            value = random_record(chance, whole)
            producer.produce(
                topic,
                value,
                chance.randbytes(chance.randrange(40)) if chance.random() < 0.9 else None,
                partition=chance.randrange(PARTITIONS),
                headers=[("type", chance.randbytes(5))] if chance.random() < 0.2 else [],
                on_delivery=report("random", value),
            )
        if number % (RANDOM_RECORDS // len(GOOD_QUEUES)) == 0:
            queue = next(good)
            for topic, key, event in (
                (settings.group_events, "good", records.Bind(group="good", queue=queue)),
                (settings.queue_events, queue, records.Open(queue=queue, session="open")),
            ):
                place = partition_of(key.encode(), PARTITIONS)
                producer.produce(topic, encode(event), key, place, on_delivery=report("good", b""))
    await asyncio.to_thread(producer.flush, PATIENCE)
    assert len(reported) == RANDOM_RECORDS + 2 * len(GOOD_QUEUES)
    unreadable = {at for kind, value, at in reported if kind == "random" and not is_readable(value)}
    assert len(unreadable) > RANDOM_RECORDS // 2

    # When a message is sent to the group of the good records
    await cluster.post("/v1/groups/good/messages", {"body": "for all"})

    # Then each queue gets it and has its session
    for queue in GOOD_QUEUES:
        await cluster.depth(queue, 1)
        assert (await cluster.get(f"/v1/queues/{queue}"))["session"] == "open"

    # and dead-letters holds every record that cannot be read, once, and no good one
    dead = await asyncio.to_thread(dead_letters, settings, unreadable)
    assert len(dead) == len(set(dead))
    assert not {at for kind, _, at in reported if kind == "good"} & set(dead)


def dead_letters(
    settings: Settings, wanted: set[tuple[str, int, int]]
) -> list[tuple[str, int, int]]:
    """Return where the records of all dead letters were, once those of `wanted` are there."""
    consumer = Consumer(
        {**settings.librdkafka(), "group.id": "attacks", "enable.auto.commit": False}
    )
    try:
        consumer.assign([TopicPartition(settings.dead_letters, n, 0) for n in range(PARTITIONS)])
        found: list[tuple[str, int, int]] = []
        deadline = time.monotonic() + PATIENCE
        while not wanted <= set(found):
            assert time.monotonic() < deadline, (len(wanted), len(found))
            for message in consumer.consume(1000, timeout=0.5):
                headers = dict(cast("list[tuple[str, bytes]]", message.headers()))
                place = headers["topic"].decode(), int(headers["partition"]), int(headers["offset"])
                found.append(place)
        return found
    finally:
        consumer.close()


# Pages of other sites, and scripts in ids -----------------------------------------------------

SCRIPTS = (
    "<script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran = 1">',
    "'-window.ran--'",
    "javascript:window.ran=1",
    "</title><svg onload=window.ran=1>",
    "${window.ran=1}{{window.ran=1}}",
    "\u202egnp.exe",
)


async def test_another_host_name_is_refused(cluster: Cluster) -> None:
    hosts = ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil", "")
    lines = ("GET /v1/groups/rebound/queues", "PUT /v1/groups/rebound/queues/q")
    asked = [f"{line} HTTP/1.1\r\nHost: {host}\r\n\r\n" for host in hosts for line in lines]
    answers = await asyncio.gather(*(exchanged(cluster, one.encode()) for one in asked))
    for request, answer in zip(asked, answers, strict=True):
        assert statuses(answer) == [403], (request, answer)
    assert (await cluster.get("/v1/groups/rebound/queues"))["queues"] == []


@needs_chromium
async def test_a_page_of_another_site_reads_and_changes_nothing(
    cluster: Cluster, browser: Chromium
) -> None:
    # Given a page of another origin in a browser that reaches the worker, and a queue
    target = cluster.urls[0]
    await cluster.post("/v1/queues/victim/messages", {"body": "secret"})
    await cluster.depth("victim", 1)

    async def page(request: web.BaseRequest) -> web.Response:
        return web.Response(text="<!doctype html><title>other</title>", content_type="text/html")

    runner = web.ServerRunner(web.Server(page))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        (address,) = runner.addresses
        tab = await browser.tab()
        await tab.open(f"http://127.0.0.1:{address[1]}/")

        # When the page sends whatever a browser lets it send
        outcome = await tab.run(OTHER_SITE.replace("TARGET", json.dumps(target)))
    finally:
        await runner.cleanup()

    # Then it reads nothing, runs nothing of the worker's, and frames nothing
    assert outcome == {
        "read": [],
        "streams": 0,
        "events": 0,
        "scripts": 0,
        "framed": 0,
    }
    # and nothing has changed
    assert (await cluster.get("/v1/queues/victim"))["depth"] == 1
    assert (await cluster.get("/v1/groups/crossed/queues"))["queues"] == []


OTHER_SITE = """(async () => {
  const target = TARGET;
  const bind = JSON.stringify({type: "bind", group: "crossed", queue: "victim"});
  const outcome = {read: [], streams: 0, events: 0, scripts: 0, framed: 0};
  const settled = (start) => new Promise((resolve) => start(resolve));
  const types = [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}];
  for (const [method, path, body] of [
    ["GET", "/v1/queues/victim/messages"], ["GET", "/v1/cluster"], ["GET", "/metrics"],
    ["POST", "/v1/events", bind], ["PUT", "/v1/groups/crossed/queues/victim"],
    ["DELETE", "/v1/queues/victim"], ["POST", "/v1/queues/victim/purge"],
  ]) {
    for (const mode of ["cors", "no-cors"]) {
      for (const headers of types) {
        try {
          const answer = await fetch(target + path, {method, mode, body, headers});
          if (await answer.text()) outcome.read.push(`${method} ${path} ${mode}`);
        } catch {}
      }
    }
  }
  navigator.sendBeacon(`${target}/v1/events`, bind);
  navigator.sendBeacon(`${target}/v1/queues/victim/purge`);
  await settled((resolve) => {
    const frame = document.createElement("iframe");
    frame.name = "sink";
    document.body.append(frame);
    const form = document.createElement("form");
    form.action = `${target}/v1/events`;
    form.method = "POST";
    form.enctype = "text/plain";
    form.target = "sink";
    const field = document.createElement("input");
    field.name = bind.slice(0, -1) + ',"session":"';
    field.value = '"}';
    form.append(field);
    document.body.append(form);
    frame.onload = resolve;
    form.submit();
  });
  await settled((resolve) => {
    const socket = new WebSocket(target.replace("http", "ws") + "/v1/stream");
    socket.onopen = () => { outcome.streams += 1; socket.close(); };
    socket.onclose = resolve;
  });
  await settled((resolve) => {
    const source = new EventSource(`${target}/v1/queues/victim/events`);
    source.onmessage = source.onopen = () => { outcome.events += 1; source.close(); resolve(); };
    source.onerror = () => { source.close(); resolve(); };
  });
  for (const path of ["/v1/cluster", "/v1/queues/victim/messages", "/page/api.js"]) {
    await settled((resolve) => {
      const script = document.createElement("script");
      script.src = target + path;
      script.onload = () => { outcome.scripts += 1; resolve(); };
      script.onerror = resolve;
      document.body.append(script);
    });
  }
  await settled((resolve) => {
    const frame = document.createElement("iframe");
    frame.src = `${target}/`;
    frame.onload = () => { outcome.framed += frame.contentWindow.length; resolve(); };
    document.body.append(frame);
  });
  return outcome;
})()"""


@needs_chromium
async def test_scripts_in_ids_and_texts_are_shown_as_text(
    cluster: Cluster, browser: Chromium
) -> None:
    # Given groups, queues, sessions, senders, kinds, headers and bodies that are scripts
    events: list[dict[str, Any]] = []
    for script in SCRIPTS:
        events.append({"type": "open", "queue": script, "session": script, "groups": [script]})
        events.append(
            {
                "type": "message",
                "queue": script,
                "sender": script,
                "kind": script[:64],
                "headers": {script: script},
                "body": script,
            }
        )
    lines = "\n".join(map(json.dumps, events))
    async with cluster.session.post(f"{cluster.urls[0]}/v1/events", data=lines) as answer:
        assert answer.status == 200, await answer.text()
    tab = await browser.tab()
    await tab.open(f"{cluster.urls[0]}/")
    await tab.run(f"void (location.hash = {json.dumps(SCRIPTS[1])})")
    await tab.until("document.querySelectorAll('.cell').length > 0")

    for script in SCRIPTS:
        # When each is looked for
        text = json.dumps(script)
        await tab.run("document.querySelector('#found').replaceChildren()")
        await tab.run("document.querySelector('#find-kind').value = 'queue'")
        await tab.fill("#find-id", script)
        await tab.press("Enter")
        await tab.until("document.querySelectorAll('#found .inbox li').length === 1")

        # Then it is shown as it stands
        assert await tab.run(
            f"document.querySelector('#found .inbox .body').textContent === {text}"
        )
        assert await tab.run(
            f"document.querySelector('#found .facts').textContent.includes({text})"
        )
    assert await tab.run("document.querySelectorAll('#found :is(script, img, svg)').length") == 0
    assert await tab.run("window.ran === undefined")
    assert tab.problems == []
