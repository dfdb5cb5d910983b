"""Jobs, options, history and sessions through the Python client, with two real workers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from two_workers import Cluster, two_workers

from streams.client import Client, Draft, Job, SessionLost
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("jobs"), "clientq", 17466) as started:
        yield started


@pytest.fixture
async def client(running: Workers) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        await Cluster(running, session).owners()
    async with Client(*running.urls) as client:
        yield client


async def until_deep(client: Client, queue: str, depth: int) -> None:
    """Wait until a queue has `depth` deliveries."""
    deadline = time.monotonic() + 120
    while (await client.queue(queue)).depth != depth:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_jobs_are_leased_returned_and_rejected(client: Client) -> None:
    # Given a job queue with a dead-letter queue, and two jobs, one urgent
    await client.configure("pool", max_tries=5, dead_letter="dead")
    deadline = time.monotonic() + 120
    while (await client.options("pool"))["dead_letter"] != "dead":  # may have just started
        assert time.monotonic() < deadline
    await client.send("pool", "later")
    await client.send("pool", "urgent", priority=9)
    await until_deep(client, "pool", 2)

    # When two consumers lease one each, then the urgent one comes first
    (one,) = await client.lease("pool", wait=60, consumer="a")
    assert (one.text, one.consumer) == ("urgent", "a")
    (two,) = await client.lease("pool", wait=60, consumer="b", visibility=60)
    assert two.text == "later"
    assert await client.lease("pool") == []

    # And a returned job is leased again, and a rejected one becomes a dead letter
    await two.extend(30)
    await two.nack()
    (again,) = await client.lease("pool", wait=60)
    assert again.text == "later"
    assert again.delivery.fields["tries"] == 2
    await again.reject()
    await one.ack()
    (dead,) = await client.inbox("dead", wait=60)
    assert dead.text == "later"
    assert dead.headers["dead-letter-reason"] == "rejected"
    assert await client.lease("pool") == []


async def test_a_queue_is_purged_and_deleted(client: Client) -> None:
    await client.send("old", "x")
    assert len(await client.inbox("old", wait=60)) == 1
    await client.purge("old")
    await client.configure("old", max_length=3)
    assert (await client.options("old"))["max_length"] == 3
    assert await client.inbox("old") == []
    assert await client.delete("old") is None
    report = await client.delete("old", erase=True)
    assert report is not None
    assert report["queue"] == "old"


async def test_history_is_read_and_replayed(client: Client) -> None:
    for text in ("one", "two"):
        await client.publish("told", text)
    assert [one["body"] async for one in client.history("told")] == ["one", "two"]
    assert await client.replay("told", "late") == 2
    (first, *_) = await client.inbox("late", wait=60)
    assert (first.text, first.headers["replay-group"]) == ("one", "told")
    assert [one["body"] async for one in client.history("told", limit=1)] == ["one"]

    # And when followed, new messages arrive
    following = client.history("told", follow=True)
    assert [(await anext(following))["body"] for _ in range(2)] == ["one", "two"]
    await client.publish("told", "three")
    assert (await asyncio.wait_for(anext(following), 120))["body"] == "three"


async def test_a_replay_of_a_queues_own_past_ends(client: Client) -> None:
    for text in ("one", "two", "three"):
        await client.send("own", text)
    # Each page appends to the log that is being read
    assert await client.replay("@own", "own") == 3
    assert await client.replay("@own", "own") == 3  # within the deduplication window: adds nothing
    async with asyncio.timeout(240):
        while len(found := await client.inbox("own", wait=1)) < 6:
            assert len(found) <= 6
    assert sorted(one.text for one in found) == sorted(("one", "two", "three") * 2)


async def test_failed_jobs_are_retried_until_done(client: Client) -> None:
    # Given two jobs, and a consumer that fails at each of them once
    tag = uuid.uuid4()
    pool = f"work-{tag}"
    await client.publish_many(Draft(text, queue=pool) for text in ("a", "b"))
    seen: Counter[str] = Counter()

    async def do(job: Job) -> None:
        async with job:
            seen[job.text] += 1
            if job.tries == 1:
                raise LookupError(job.text)

    # When it works until there are no more jobs
    failed: list[str] = []
    async with asyncio.timeout(240):
        async for job in client.jobs(pool, lease=30):
            try:
                await do(job)
            except LookupError as error:
                failed.append(str(error))
            if seen.total() == 4:
                break

    # Then each was returned, leased again, and done
    assert sorted(failed) == ["a", "b"]
    assert seen == {"a": 2, "b": 2}
    assert await client.lease(pool) == []
    assert (await client.queue(pool)).depth == 0


async def test_a_job_that_takes_longer_than_its_lease_is_extended(client: Client) -> None:
    pool = f"slow-{uuid.uuid4()}"
    await client.send(pool, "slow")
    (job,) = await client.lease(pool, visibility=4, wait=60)
    async with job:
        await asyncio.sleep(6)
        assert await client.lease(pool) == []
    assert (await client.queue(pool)).depth == 0


async def test_a_subscriber_to_a_job_queue_sees_redelivered_jobs(client: Client) -> None:
    # Given a job that a subscriber sees without leasing it, and a consumer that leases it
    pool = f"seen-{uuid.uuid4()}"
    await client.send(pool, "job")
    async with client.subscribe(pool, auto_ack=False, prefetch=2) as deliveries:
        async with asyncio.timeout(240):
            first = await anext(deliveries)
            for _ in range(5):
                # When it is returned, then the subscriber sees it again, whatever its credit
                (job,) = await client.lease(pool, wait=60)
                await job.nack()
                again = await anext(deliveries)
                assert (again.seq, again.fields["redelivered"]) == (first.seq, True)


async def test_a_session_lives_as_long_as_its_block(client: Client) -> None:
    # Given a watcher, and a session with two groups and a ttl of four seconds
    tag = uuid.uuid4()
    ann, watcher = f"ann-{tag}", f"watcher-{tag}"
    await client.bind(f"presence:{ann}", watcher)
    async with client.session(ann, groups=[f"g-{tag}", f"h-{tag}"], ttl=4.0) as session:
        # When its block takes longer than that, then it is still open
        await asyncio.sleep(6)
        summary = await client.queue(ann)
        assert (summary.session, summary.groups) == (session.id, 2)
    # And it ends with the block
    async with client.subscribe(watcher) as deliveries:
        async with asyncio.timeout(240):
            said = [json.loads((await anext(deliveries)).body) for _ in range(2)]
    assert [one["state"] for one in said] == ["online", "offline"]
    summary = await client.queue(ann)
    assert (summary.session, summary.groups) == (None, 0)


async def test_a_new_session_ends_the_old_one(client: Client) -> None:
    bob = f"bob-{uuid.uuid4()}"

    async def hold() -> None:
        async with client.session(bob, groups=["hall"], ttl=6):
            await asyncio.sleep(600)

    holding = asyncio.create_task(hold())
    deadline = time.monotonic() + 120
    while (await client.queue(bob)).session is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    async with client.session(bob, groups=["hall"]) as new:
        with pytest.raises(SessionLost) as lost:
            await asyncio.wait_for(holding, 120)
        assert lost.value.by == new.id
        assert (await client.queue(bob)).session == new.id
