"""The Python client with two real workers, one of which may die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime

import pytest
from two_workers import Cluster, two_workers

from streams.client import Client, ClientClosed, Delivery, Draft, Refused, Subscription, Unavailable
from streams.client.direct import DirectProducer
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("client"), "client", 17266) as started:
        yield started


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    async with Client(*cluster.urls) as client:
        yield client


async def take(deliveries: Subscription, count: int, timeout: float = 120) -> list[Delivery]:
    async with asyncio.timeout(timeout):
        return [await anext(deliveries) for _ in range(count)]


async def ids_of(source: AsyncIterator[str]) -> list[str]:
    return [one async for one in source]


async def until_listed(list_ids: Callable[[], AsyncIterator[str]], wanted: list[str]) -> None:
    """Wait until a listing is as wanted: a client that failed over may read a moment early."""
    deadline = time.monotonic() + 120
    while (found := await ids_of(list_ids())) != wanted:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def until_groups(client: Client, queue: str, wanted: list[str]) -> None:
    await until_listed(lambda: client.groups(queue), wanted)


async def test_what_is_published_is_what_is_delivered(client: Client) -> None:
    # Given queues with ids of all kinds, bound to a group
    queues = ["plain", "a/b?c#d", "ж😀", "%41", ".."]
    for queue in queues:
        await client.bind("all of/them", queue)
    await until_listed(lambda: client.members("all of/them"), sorted(queues, key=str.encode))

    # When messages are published, one of them binary
    text = await client.publish(
        "all of/them", "hé\nllo", sender="me", kind="vote", headers={"a": "b"}
    )
    raw = await client.publish("all of/them", b"\x00\xff", id="raw")
    assert raw.id == "raw"
    assert raw.partition == text.partition
    assert raw.offset > text.offset

    # Then one iteration yields them for all queues, in order
    async with client.subscribe(*queues) as deliveries:
        got = await take(deliveries, 10)
    for queue in queues:
        first, second = (one for one in got if one.queue == queue)
        assert (first.id, first.text, first.sender, first.kind) == (
            text.id,
            "hé\nllo",
            "me",
            "vote",
        )
        assert (first.group, first.headers) == ("all of/them", {"a": "b"})
        assert first.at > 1_700_000_000_000
        assert (second.id, second.body) == ("raw", b"\x00\xff")
        assert second.seq > first.seq

    # and since the block ended normally, all of them are acknowledged
    for queue in queues:
        assert (await client.queue(queue)).depth == 0
        await client.unbind("all of/them", queue)
    await until_listed(lambda: client.members("all of/them"), [])


async def test_a_delivery_that_failed_comes_again(client: Client) -> None:
    for number in range(3):
        await client.send("failing", str(number))

    async def work() -> None:
        async with client.subscribe("failing") as deliveries:
            async for delivery in deliveries:
                if delivery.text == "1":
                    raise LookupError

    with pytest.raises(LookupError):
        await work()
    async with client.subscribe("failing", auto_ack=False) as deliveries:
        assert [one.text for one in await take(deliveries, 2)] == ["1", "2"]


async def test_explicit_acks_are_confirmed_single_or_cumulative(
    client: Client, cluster: Cluster
) -> None:
    for worker in (0, 1):
        queue = await cluster.queue_of(worker, "explicit")
        await client.publish_many(Draft(str(number), queue=queue) for number in range(300))
        async with client.subscribe(queue, auto_ack=False, prefetch=20) as deliveries:
            got = await take(deliveries, 300)
            assert [one.text for one in got] == [str(number) for number in range(300)]
            await got[100].ack(cumulative=True)
            await asyncio.gather(*(one.ack() for one in got[200:]))
        assert (await client.queue(queue)).depth == 99
        left = await client.inbox(queue, limit=200)
        assert [one.seq for one in left] == [one.seq for one in got[101:200]]
        await left[0].ack()
        await got[150].ack()  # also after the subscription was closed
        await left[-1].ack(cumulative=True)
        assert await client.inbox(queue) == []


async def test_queues_can_be_added_and_removed_while_iterating(client: Client) -> None:
    async with client.subscribe() as deliveries:
        waiting = asyncio.create_task(take(deliveries, 2))
        await asyncio.sleep(0.1)
        deliveries.add("later")
        await client.send("later", "1")
        await client.send("later", "2")
        assert [one.text for one in await waiting] == ["1", "2"]
        # Removed and added again at once, on the same connection
        waiting = asyncio.create_task(take(deliveries, 1))
        deliveries.remove("later")
        deliveries.add("later")
        await client.send("later", "3")
        while (await waiting)[0].text != "3":  # an unacknowledged delivery may come first
            waiting = asyncio.create_task(take(deliveries, 1))
        deliveries.remove("later")
        await client.send("later", "3")
        with pytest.raises(TimeoutError):
            await take(deliveries, 1, timeout=0.5)
        assert deliveries.queues == []


async def test_a_session_is_a_context_manager(client: Client) -> None:
    async with client.session("resident", groups=["room", "hall"]) as session:
        await until_groups(client, "resident", ["hall", "room"])
        assert (await client.queue("resident")).session == session.id
        await session.join("attic")
        await until_groups(client, "resident", ["attic", "hall", "room"])
        await session.leave("hall")
        await until_groups(client, "resident", ["attic", "room"])
        async with session.subscribe() as deliveries:
            await client.publish("room", "hello")
            assert (await take(deliveries, 1))[0].text == "hello"
    await until_groups(client, "resident", [])
    assert (await client.queue("resident")).session is None


async def test_a_client_that_follows_owners_connects_only_to_them(cluster: Cluster) -> None:
    queues = [await cluster.queue_of(worker, "follow") for worker in (0, 1)]

    async def streams() -> list[str]:
        found = []
        for url in cluster.urls:
            async with cluster.session.get(f"{url}/metrics") as answer:
                found += [
                    line.split()[1]
                    for line in (await answer.text()).splitlines()
                    if line.startswith("streams_stream_")
                    and line.split()[0].removeprefix("streams_stream_")
                    in ("connections", "upstreams")
                ]
        return found

    async with (
        Client(cluster.urls[0], follow_owners=True) as client,
        client.subscribe(*queues) as deliveries,
    ):
        for queue in queues:
            await client.send(queue, "x")
        assert {one.queue for one in await take(deliveries, 2)} == set(queues)
        assert await streams() == ["1.0", "0.0", "1.0", "0.0"]


async def test_errors_say_what_to_do(client: Client, cluster: Cluster) -> None:
    with pytest.raises(Refused, match="control characters") as refused:
        await client.bind("g", "a\tb")
    assert (refused.value.code, refused.value.status) == ("bad_id", 400)
    with pytest.raises(Refused) as refused:
        await client.publish("g", "x" * 300_000)
    assert refused.value.code == "too_large"
    async with client.subscribe("a\tb") as deliveries:
        with pytest.raises(Refused, match="control characters"):
            await anext(deliveries)
    with pytest.raises(ValueError, match="time zone"):
        await client.send("q", "x", expires_at=datetime(2030, 1, 1))
    with pytest.raises(ClientClosed):
        await Client(cluster.urls[0]).publish("g", "x")
    with pytest.raises(ClientClosed):
        await anext(Client(cluster.urls[0]).subscribe("q"))
    async with Client("http://127.0.0.1:9", retry_seconds=0.5) as lonely:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await lonely.publish("g", "x")

    # If one worker is unreachable, the client uses another
    async with Client("http://127.0.0.1:9", cluster.urls[0]) as client:
        assert (await client.send("elsewhere", "x")).offset >= 0
        async with client.subscribe("elsewhere") as deliveries:
            assert len(await take(deliveries, 1)) == 1


async def test_a_direct_producer_writes_what_a_worker_would(
    client: Client, kafka: EmbeddedKafka
) -> None:
    async with DirectProducer(kafka.brokers, namespace="client") as producer:
        await producer.bind("direct", "directed")
        drafts = [Draft(str(n), group="direct", sender="me", id=f"d{n}") for n in range(100)]
        published = await producer.publish_many(drafts)
        assert [one.id for one in published] == [draft.id for draft in drafts]
        assert await producer.publish(drafts[0]) != published[0]
        await client.publish_draft(drafts[1])
        await producer.publish(Draft(b"\xff", queue="directed"))
        await producer.unbind("direct", "directed")
        await producer.publish(Draft("too late", group="direct"))
    async with client.subscribe("directed") as deliveries:
        got = await take(deliveries, 101)
        bodies = [one.body for one in got if one.group == "direct"]
        assert bodies == [str(n).encode() for n in range(100)]
        assert [one.body for one in got if one.group == "@directed"] == [b"\xff"]
        with pytest.raises(TimeoutError):
            await take(deliveries, 1, timeout=0.5)
    with pytest.raises(ClientClosed):
        await producer.publish(drafts[0])


@pytest.mark.fault
@pytest.mark.parametrize("follow", [False, True])
async def test_a_subscription_survives_the_death_of_a_worker(
    cluster: Cluster, follow: bool
) -> None:
    # Given a client of the second worker, subscribed to queues of both
    name = "follows" if follow else "stays"
    queues = [await cluster.queue_of(worker, f"{name}{n}") for worker in (0, 1) for n in range(3)]
    got: dict[str, list[Delivery]] = {queue: [] for queue in queues}
    sent: dict[str, list[str]] = {queue: [] for queue in queues}
    first = cluster.urls if follow else cluster.urls[::-1]

    async def publish(client: Client) -> None:
        for number in range(100):
            for queue in queues:
                sent[queue].append((await client.send(queue, str(number))).id)
            await asyncio.sleep(0.05)

    async with (
        Client(*first, follow_owners=follow, retry_seconds=240) as client,
        Client(*cluster.urls, retry_seconds=240) as publisher,
        client.subscribe(*queues, prefetch=50) as deliveries,
    ):
        publishing = asyncio.create_task(publish(publisher))

        async def read(until: int) -> None:
            async with asyncio.timeout(240):
                while sum(map(len, got.values())) < until:
                    one = await anext(deliveries)
                    got[one.queue].append(one)

        await read(100)

        # When that worker is killed, and comes back
        cluster.kill(1)
        await read(400)
        cluster.restart(1)
        await publishing
        await read(600)

        # Then nothing was lost or delivered twice, and everything came in order
        with pytest.raises(TimeoutError):
            await take(deliveries, 1, timeout=1)
    for queue in queues:
        assert [one.id for one in got[queue]] == sent[queue]

    # and everything is acknowledged
    await cluster.owners()
    for queue in queues:
        await cluster.depth(queue, 0)
