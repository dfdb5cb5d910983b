"""Jobs and options by the Python client, at two real workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from two_workers import Cluster, two_workers

from streams.broker.embedded import EmbeddedKafka
from streams.client import Client
from streams.commands.processes import Workers


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


async def test_jobs_are_leased_given_back_and_given_up(client: Client) -> None:
    # Given a job queue with a dead-letter queue, and two jobs, one urgent
    await client.configure("pool", max_tries=5, dead_letter="dead")
    assert (await client.options("pool"))["dead_letter"] == "dead"
    await client.send("pool", "later")
    await client.send("pool", "urgent", priority=9)

    # When two consumers take one each, then the urgent one comes first
    (one,) = await client.lease("pool", wait=10, consumer="a")
    assert (one.text, one.consumer) == ("urgent", "a")
    (two,) = await client.lease("pool", wait=10, consumer="b", visibility=60)
    assert two.text == "later"
    assert await client.lease("pool") == []

    # And what is given back is had again, what is rejected is a dead letter
    await two.extend(30)
    await two.nack()
    (again,) = await client.lease("pool", wait=10)
    assert again.text == "later"
    assert again.delivery.fields["tries"] == 2
    await again.reject()
    await one.ack()
    (dead,) = await client.inbox("dead", wait=10)
    assert dead.text == "later"
    assert dead.headers["dead-letter-reason"] == "rejected"
    assert await client.lease("pool") == []


async def test_a_queue_is_purged_and_deleted(client: Client) -> None:
    await client.send("old", "x")
    assert len(await client.inbox("old", wait=10)) == 1
    await client.purge("old")
    await client.configure("old", max_length=3)
    assert (await client.options("old"))["max_length"] == 3
    assert await client.inbox("old") == []
    assert await client.delete("old") is None
    report = await client.delete("old", erase=True)
    assert report is not None
    assert report["queue"] == "old"


async def test_the_past_is_read_and_replayed(client: Client) -> None:
    for text in ("one", "two"):
        await client.publish("told", text)
    assert [one["body"] async for one in client.history("told")] == ["one", "two"]
    assert await client.replay("told", "late") == 2
    (first, *_) = await client.inbox("late", wait=10)
    assert (first.text, first.headers["replay-group"]) == ("one", "told")
