"""Competing consumers over streams of two real workers, whichever owns the queue."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from two_workers import Cluster, two_workers

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    data = tmp_path_factory.mktemp("stream-leases")
    with two_workers(kafka, data, "stream-leases", 17186) as started:
        yield started


class Consumer:
    """A competing consumer: a stream that expects only messages."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, queue: str) -> None:
        self.socket = socket
        self.queue = queue
        self.got: list[Any] = []

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, "queue": self.queue, **fields})

    async def next(self, timeout: float = 120) -> Any:
        """Return the next message; other frames are skipped, except errors."""
        async with asyncio.timeout(timeout):
            while True:
                frame = json.loads(await self.socket.receive_str())
                assert frame["type"] != "error", frame
                if frame["type"] == "message":
                    self.got.append(frame)
                    return frame

    async def silence(self, seconds: float = 0.5) -> None:
        with pytest.raises(TimeoutError):
            await self.next(seconds)

    async def work(self, done: asyncio.Event) -> None:
        """Acknowledge each message and request another, until told to stop."""
        while not done.is_set():
            try:
                job = await self.next(0.3)
            except TimeoutError:
                continue
            await self.say("ack", seqs=[job["seq"]])
            await self.say("credit", more=1)


async def consumer(cluster: Cluster, worker: int, queue: str, **terms: Any) -> Consumer:
    socket = await cluster.session.ws_connect(f"{cluster.urls[worker]}/v1/stream")
    found = Consumer(socket, queue)
    await found.say("subscribe", lease=True, **terms)
    return found


async def send(cluster: Cluster, queue: str, *bodies: str) -> None:
    for body in bodies:
        await cluster.post(f"/v1/queues/{queue}/messages", {"body": body})


@pytest.mark.parametrize("owner", [0, 1])
async def test_each_job_goes_to_one_consumer_of_any_worker(cluster: Cluster, owner: int) -> None:
    # Given consumers at both workers, and jobs from before and after they connected
    queue = await cluster.queue_of(owner, "shared")
    names = [str(number) for number in range(40)]
    await send(cluster, queue, *names[:20])
    done = asyncio.Event()
    consumers = [await consumer(cluster, worker % 2, queue, credit=2) for worker in range(4)]
    tasks = [asyncio.create_task(one.work(done)) for one in consumers]

    # When they work (the queue may be empty before the last job arrives)
    await send(cluster, queue, *names[20:])
    deadline = time.monotonic() + 240
    while {job["body"] for one in consumers for job in one.got} != set(names):
        assert time.monotonic() < deadline, "not all jobs were done"
        await asyncio.sleep(0.05)
    await cluster.depth(queue, 0)
    done.set()
    await asyncio.gather(*tasks)

    # Then each job was done once, at the first try, and every consumer had a share
    jobs = [job for one in consumers for job in one.got]
    assert sorted(int(job["body"]) for job in jobs) == list(range(40))
    assert {job["tries"] for job in jobs} == {1}
    assert all(one.got for one in consumers)
    for one in consumers:
        await one.socket.close()


@pytest.mark.parametrize("owner", [0, 1])
async def test_credit_limits_leases_and_expired_ones_come_back(
    cluster: Cluster, owner: int
) -> None:
    queue = await cluster.queue_of(owner, "again")
    await send(cluster, queue, "a", "b", "c")
    one = await consumer(cluster, 0, queue, credit=2, visibility_seconds=60, consumer="one")
    first, second = await one.next(), await one.next()
    assert (first["body"], second["body"], first["consumer"]) == ("a", "b", "one")
    await one.silence()

    # A job nacked with a delay is sent again, with its count, to a consumer with credit
    await one.say("nack", seqs=[first["seq"]], delay_seconds=0.5)
    await one.say("credit", more=1)
    assert (await one.next())["body"] == "c"
    other = await consumer(cluster, 1, queue, credit=1, visibility_seconds=1)
    again = await other.next()
    assert (again["body"], again["seq"], again["tries"]) == ("a", first["seq"], 2)

    # and so is one whose lease has ended
    await one.say("credit", more=1)
    again = await one.next()
    assert (again["body"], again["tries"], again["consumer"]) == ("a", 3, "one")

    # The jobs of a client that has left are available at once, except those it acknowledged
    await one.say("ack", seqs=[second["seq"]])
    await one.socket.close()
    await other.say("credit", more=5)
    left = [await other.next(), await other.next()]
    assert sorted(job["body"] for job in left) == ["a", "c"]
    await other.silence()
    await cluster.depth(queue, 2)
    await other.socket.close()


async def test_a_non_competing_subscriber_sees_redelivered_jobs(cluster: Cluster) -> None:
    for owner in (0, 1):
        # Given a queue of jobs, and a subscriber that does not compete
        queue = await cluster.queue_of(owner, "watched")
        await send(cluster, queue, "x")
        worker = await consumer(cluster, 0, queue, credit=1, visibility_seconds=60)
        job = await worker.next()
        watcher = Consumer(await cluster.session.ws_connect(f"{cluster.urls[0]}/v1/stream"), queue)
        await watcher.say("subscribe")
        seen = await watcher.next()
        assert (seen["seq"], "redelivered" in seen) == (job["seq"], False)

        # When the job is returned to the queue
        await worker.say("nack", seqs=[job["seq"]])

        # Then it is sent again with the same seq, once
        again = await watcher.next()
        assert (again["seq"], again["redelivered"], again["tries"]) == (job["seq"], True, 1)
        await watcher.silence(0.3)
        await worker.socket.close()
        await watcher.socket.close()


async def test_invalid_lease_options_are_refused(cluster: Cluster) -> None:
    async with cluster.session.ws_connect(f"{cluster.urls[0]}/v1/stream") as socket:
        for wrong in (
            {"lease": True},
            {"lease": True, "credit": 1, "after": 5},
            {"lease": "yes", "credit": 1},
            {"lease": True, "credit": 1, "visibility_seconds": 0},
            {"lease": True, "credit": 1, "visibility_seconds": 1e9},
            {"lease": True, "credit": 1, "consumer": ""},
            {"consumer": "me"},
            {"visibility_seconds": 5},
        ):
            await socket.send_json({"type": "subscribe", "queue": "wrong", **wrong})
            frame = await socket.receive_json(timeout=120)
            assert (frame["type"], frame["queue"]) == ("error", "wrong")


@pytest.mark.fault
async def test_consumers_continue_after_the_loss_of_the_owner(cluster: Cluster) -> None:
    # Given consumers at the first worker, of a queue that the second owns
    queue = await cluster.queue_of(1, "moving")
    done = asyncio.Event()
    terms = {"credit": 3, "visibility_seconds": 10}
    consumers = [await consumer(cluster, 0, queue, **terms) for _ in range(3)]
    tasks = [asyncio.create_task(one.work(done)) for one in consumers]
    await send(cluster, queue, *map(str, range(20)))

    # When the owner is killed while they work, and more jobs arrive
    cluster.kill(1)
    try:
        await send(cluster, queue, *map(str, range(20, 60)))
        await cluster.depth(queue, 0)
    finally:
        cluster.restart(1)
    done.set()
    await asyncio.gather(*tasks)

    # Then every job was done, and only a few twice
    jobs = [int(job["body"]) for one in consumers for job in one.got]
    assert set(jobs) == set(range(60))
    assert len(jobs) <= 60 + 9
    await cluster.owners()
