"""A reader keeps its queue alive, through either of two workers, and is told of its deletion."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from two_workers import Cluster, two_workers

from streams.client import Client, QueueDeleted, Refused
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers

TTL_SECONDS = 4
"""Many times what a busy worker lags behind, and less than a takeover takes."""
PATIENCE_SECONDS = 240.0


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("readers"), "readers", 18566) as started:
        yield started


async def bound(cluster: Cluster, queue: str, ttl_seconds: float = TTL_SECONDS) -> None:
    """Make a queue with a TTL that is bound to a group of the same name."""
    async with cluster.session.put(f"{cluster.urls[0]}/v1/groups/{queue}/queues/{queue}") as done:
        assert done.status == 204
    options = {"ttl_seconds": ttl_seconds}
    url = f"{cluster.urls[0]}/v1/queues/{queue}/options"
    async with cluster.session.put(url, json=options) as done:
        assert done.status == 204


async def gone(cluster: Cluster, queue: str) -> None:
    """Wait until a queue has no binding, and so was deleted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if not (await cluster.get(f"/v1/queues/{queue}/groups"))["groups"]:
                return
            await asyncio.sleep(0.1)


async def polled(cluster: Cluster, worker: int) -> None:
    """Wait until a request waits for a message at a worker."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with cluster.session.get(f"{cluster.urls[worker]}/metrics") as answer:
                if "streams_long_polls 1.0" in await answer.text():
                    return
            await asyncio.sleep(0.05)


class Told(Exception):
    """The reader was told that its queue was deleted."""


Read = Callable[[], Awaitable[str]]
"""Returns the body of the next message; raises `Told`."""


@asynccontextmanager
async def stream(cluster: Cluster, queue: str, worker: int) -> AsyncIterator[Read]:
    async with cluster.session.ws_connect(f"{cluster.urls[worker]}/v1/stream") as socket:
        await socket.send_json({"type": "subscribe", "queue": queue})

        async def read() -> str:
            while True:
                frame = json.loads(await socket.receive_str(timeout=PATIENCE_SECONDS))
                if frame["type"] == "deleted":
                    assert frame["queue"] == queue
                    raise Told
                if frame["type"] == "message":
                    return str(frame["body"])

        yield read


@asynccontextmanager
async def events(cluster: Cluster, queue: str, worker: int) -> AsyncIterator[Read]:
    url = f"{cluster.urls[worker]}/v1/queues/{queue}/events"
    async with cluster.session.get(url) as answer:

        async def read() -> str:
            kind = ""
            while True:
                line = await asyncio.wait_for(answer.content.readline(), PATIENCE_SECONDS)
                assert line, "the events have ended"
                kind = line[7:].decode().strip() if line.startswith(b"event: ") else kind
                if line.startswith(b"data: ") and kind == "deleted":
                    assert json.loads(line[6:]) == {"queue": queue}
                    assert await answer.content.read() == b"\n"  # the end of the stream
                    raise Told
                if line.startswith(b"data: "):
                    return str(json.loads(line[6:])["body"])

        yield read


@asynccontextmanager
async def long_poll(cluster: Cluster, queue: str, worker: int) -> AsyncIterator[Read]:
    url = f"{cluster.urls[worker]}/v1/queues/{queue}/messages?wait=60"

    async def ask() -> str:
        async with cluster.session.get(url) as answer:
            content = await answer.json()
            if answer.status == 410:
                assert content["error"]["code"] == "deleted"
                raise Told
            assert answer.status == 200, content
            return str(content["messages"][0]["body"])

    asked = asyncio.create_task(ask())
    await asyncio.sleep(0)

    async def read() -> str:
        return await asyncio.wait_for(asked, PATIENCE_SECONDS)

    try:
        yield read
    finally:
        asked.cancel()


READERS = [stream, events, long_poll]


async def test_each_reader_keeps_its_queue_alive(cluster: Cluster) -> None:
    """All at once: what takes time is the TTL."""
    async with asyncio.TaskGroup() as readers:
        for reader in READERS:
            for worker in (0, 1):
                readers.create_task(keeps_its_queue_alive(cluster, reader, worker))


async def keeps_its_queue_alive(cluster: Cluster, reader: Any, worker: int) -> None:
    # Given a bound queue of the first worker, with a TTL, and another one that nobody reads
    name = f"kept-{reader.__name__}-{worker}"
    queue = await cluster.queue_of(0, name)
    await bound(cluster, queue)
    async with reader(cluster, queue, worker) as read:
        # When several times the TTL have passed, in which the other one was deleted
        await bound(cluster, f"{name}-unread")
        await asyncio.sleep(2 * TTL_SECONDS)
        await gone(cluster, f"{name}-unread")
        # Then its reader still gets what is sent to the group
        await cluster.post(f"/v1/groups/{queue}/messages", {"body": "still there"})
        assert await read() == "still there"
    # And once the reader has left, the queue is deleted
    await gone(cluster, queue)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("worker", [0, 1])
async def test_a_reader_is_told_of_a_deletion(cluster: Cluster, reader: Any, worker: int) -> None:
    queue = await cluster.queue_of(0, f"told-{reader.__name__}-{worker}")
    await bound(cluster, queue, ttl_seconds=3600)
    async with reader(cluster, queue, worker) as read:
        # Whether the reader has begun is seen from outside only by what it gets
        if reader is not long_poll:
            await cluster.post(f"/v1/groups/{queue}/messages", {"body": "first"})
            assert await read() == "first"
        else:
            await polled(cluster, 0)
        async with cluster.session.delete(f"{cluster.urls[1]}/v1/queues/{queue}") as done:
            assert done.status == 204
        with pytest.raises(Told):
            await read()


async def test_the_client_is_told_and_goes_on_with_other_queues(cluster: Cluster) -> None:
    queues = [await cluster.queue_of(worker, "client") for worker in (0, 1)]
    async with Client(*cluster.urls) as client:
        for queue in queues:
            await client.send(queue, f"in {queue}")
        async with client.subscribe(*queues) as deliveries:
            found = {(await anext(deliveries)).queue for _ in queues}
            assert found == set(queues)
            await client.delete(queues[0])
            with pytest.raises(QueueDeleted, match="was deleted") as told:
                await asyncio.wait_for(anext(deliveries), PATIENCE_SECONDS)
            assert told.value.queue == queues[0]
            assert deliveries.queues == queues[1:]
            await client.send(queues[1], "more")
            assert (await asyncio.wait_for(anext(deliveries), PATIENCE_SECONDS)).text == "more"
            # and the queue can be read again
            deliveries.add(queues[0])
            await client.send(queues[0], "anew")
            assert (await asyncio.wait_for(anext(deliveries), PATIENCE_SECONDS)).text == "anew"
            deliveries.remove(queues[1])
        await cluster.depth(queues[1], 0)
        # A long poll raises the same
        polling = asyncio.create_task(client.inbox(queues[1], wait=50))
        await polled(cluster, 1)
        await client.delete(queues[1])
        with pytest.raises(Refused) as refused:
            await polling
        assert (refused.value.code, refused.value.status) == ("deleted", 410)


@pytest.mark.parametrize("worker", [0, 1])
async def test_a_stream_refuses_a_time_for_a_seq(cluster: Cluster, worker: int) -> None:
    queue = await cluster.queue_of(0, "seq")
    async with cluster.session.ws_connect(f"{cluster.urls[worker]}/v1/stream") as socket:
        after = time.time_ns() // 1_000_000
        await socket.send_json({"type": "subscribe", "queue": queue, "after": after, "ref": 7})
        while True:
            frame = json.loads(await socket.receive_str(timeout=PATIENCE_SECONDS))
            if frame["type"] == "error":
                break
            assert frame["type"] == "subscribed"
        assert (frame["code"], frame["queue"], frame["ref"]) == ("bad_field", queue, 7)
        assert "not a time" in frame["message"]
        for fields in ({"upto": after}, {"seqs": [4097, after // 1000]}):
            await socket.send_json({"type": "ack", "queue": queue, "ref": 8, **fields})
            frame = json.loads(await socket.receive_str(timeout=PATIENCE_SECONDS))
            assert (frame["type"], frame["code"], frame["ref"]) == ("error", "bad_field", 8)
        # the connection goes on, and may subscribe again
        await socket.send_json({"type": "subscribe", "queue": queue, "after": 4097})
        frame = json.loads(await socket.receive_str(timeout=PATIENCE_SECONDS))
        assert frame["type"] == "subscribed"


@pytest.mark.fault
async def test_a_reader_survives_the_owner_and_keeps_its_queue(cluster: Cluster) -> None:
    # Given a queue of the second worker that is read through the first one, and whose TTL is
    # shorter than a takeover
    queue = await cluster.queue_of(1, "crash")
    await bound(cluster, queue)
    async with stream(cluster, queue, 0) as read:
        await cluster.post(f"/v1/groups/{queue}/messages", {"body": "before"})
        assert await read() == "before"
        # When its owner dies, and the other worker takes over
        cluster.kill(1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    await cluster.get(f"/v1/queues/{queue}")
                    break
                except AssertionError:
                    await asyncio.sleep(0.2)
        # Then the queue is still bound, and stays so
        await asyncio.sleep(2 * TTL_SECONDS)
        await cluster.post(f"/v1/groups/{queue}/messages", {"body": "after"})
        assert await read() == "after"
    await gone(cluster, queue)
    cluster.restart(1)
    await cluster.owners()
