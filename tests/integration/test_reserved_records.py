"""Records that only the folds may write, written by somebody else; ids of several senders."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from two_workers import PARTITIONS, run_workers, wait_until_ready

from streams.events.codec import encode
from streams.events.records import Bind, Message, Origin, Routed, Tick
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.partitioner import partition_of
from streams.operate.processes import Workers

SECONDS = 240.0
FAR = 10**12


def write(producer: Producer, topic: str, key: str, value: bytes) -> None:
    """Write a record to the partition of its key; raise what Kafka answers."""
    failed: list[KafkaError] = []

    def confirmed(error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    partition = partition_of(key.encode(), PARTITIONS)
    producer.produce(topic, value, key, partition, on_delivery=confirmed)
    assert producer.flush(SECONDS) == 0
    if failed:
        raise KafkaException(failed[0])


class Client:
    """Sends requests to the worker."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        async with self.session.request(method, self.url + path, json=body) as answer:
            assert answer.status < 300, (path, answer.status, await answer.text())
            return await answer.json(content_type=None)

    async def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        async with self.session.get(self.url + "/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))

    async def until(self, path: str, key: str, wanted: Any) -> None:
        """Wait until the JSON at a path has a value at a key."""
        deadline = time.monotonic() + SECONDS
        while True:
            found = await self.do("GET", path)
            if found[key] == wanted:
                return
            assert time.monotonic() < deadline, (path, found)

    async def bodies(self, queue: str, wanted: list[str]) -> list[Any]:
        """Wait until a queue holds these bodies; return its messages."""
        deadline = time.monotonic() + SECONDS
        while True:
            found = (await self.do("GET", f"/v1/queues/{queue}/messages?wait=1"))["messages"]
            if [message["body"] for message in found] == wanted:
                return list(found)
            assert time.monotonic() < deadline, (queue, found)


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("reserved")
    with run_workers(1, kafka, folder, "reserved", 17866) as started:
        wait_until_ready(started)
        yield started


@pytest.fixture
async def client(running: Workers) -> AsyncIterator[Client]:
    timeout = aiohttp.ClientTimeout(total=240)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Client(running.urls[0], session)


async def test_a_copy_of_another_systems_log_silences_nobody(
    client: Client, kafka: EmbeddedKafka
) -> None:
    # Given records of another system's folds in both logs, at offsets that are far ahead
    producer = Producer({"bootstrap.servers": kafka.brokers})
    before = await client.metric("streams_dead_letters_total")
    copies = 0
    for number in range(PARTITIONS):
        for log in (0, 4711):
            origin = Origin(number, FAR, 0, log)
            for target in range(PARTITIONS):
                queue = next(
                    name
                    for name in (f"ko-{n}" for n in range(1000))
                    if partition_of(f"@{name}".encode(), PARTITIONS) == target
                )
                copy = Message("m", f"@{queue}", "me", origin=origin)
                write(producer, "reserved.group-events", copy.group, encode(copy))
                queue = next(
                    name
                    for name in (f"ko-{n}" for n in range(1000))
                    if partition_of(name.encode(), PARTITIONS) == target
                )
                routed = Routed(number, (FAR,), b"\1", ("g",), (queue,), ("",), log=log)
                write(producer, "reserved.queue-events", queue, encode(routed))
                copies += 2
    write(producer, "reserved.group-events", "g", encode(Bind("g", "q", replaces="s")))

    # Then all of them are dead letters
    deadline = time.monotonic() + SECONDS
    while await client.metric("streams_dead_letters_total") < before + copies + 1:
        assert time.monotonic() < deadline, await client.metric("streams_dead_letters_total")

    # And sessions still bind, and end, in every pair of partitions
    groups = [f"g{number}" for number in range(2 * PARTITIONS)]
    for number in range(2 * PARTITIONS):
        queue = f"q{number}"
        path = f"/v1/queues/{queue}/sessions/s"
        await client.do("PUT", path, {"groups": groups})
        await client.until(f"/v1/queues/{queue}/groups", "groups", groups)
        await client.do("DELETE", path)
        await client.until(f"/v1/queues/{queue}/groups", "groups", [])


async def test_a_tick_of_the_future_moves_no_clock(client: Client, kafka: EmbeddedKafka) -> None:
    # Given a session that is due in an hour
    await client.do("PUT", "/v1/queues/late/sessions/s", {"ttl_seconds": 3600})
    # When a producer writes a Tick of the year 2100, with that timestamp
    producer = Producer({"bootstrap.servers": kafka.brokers})
    future = 4_102_444_800_000
    partition = partition_of(b"late", PARTITIONS)
    producer.produce(
        "reserved.queue-events", encode(Tick(future)), b"late", partition, timestamp=future
    )
    assert producer.flush(SECONDS) == 0
    # Then later events of the queue are folded, and the session is open
    await client.do("POST", "/v1/queues/late/messages", {"body": "here"})
    (message,) = await client.bodies("late", ["here"])
    assert message["at"] < future
    assert (await client.do("GET", "/v1/queues/late"))["session"] == "s"


async def test_an_id_belongs_to_its_sender(client: Client) -> None:
    # Given an id that somebody used up
    path = "/v1/queues/poll/messages"
    await client.do("POST", path, {"id": "poll-7", "sender": "mallory", "body": "first"})
    # When its owner sends with it, twice
    mine = {"id": "poll-7", "sender": "alice", "body": "mine", "receipt": True}
    await client.do("POST", path, mine)
    await client.do("POST", path, mine)
    # Then the message arrives once, and the sender is told of the repetition
    (told,) = await client.bodies("alice", (await _notice(client)))
    assert (told["kind"], told["sender"]) == ("duplicate", "")
    assert [m["body"] for m in await client.bodies("poll", ["first", "mine"])] == ["first", "mine"]
    # And the history has both
    past = await client.do("GET", "/v1/groups/%40poll/messages")
    assert [(m["sender"], m["body"]) for m in past["messages"]] == [
        ("mallory", "first"),
        ("alice", "mine"),
    ]
    assert await client.metric("streams_messages_duplicate_total") >= 1


async def _notice(client: Client) -> list[str]:
    """Wait for a message to alice; return the bodies of all of them."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = (await client.do("GET", "/v1/queues/alice/messages?wait=1"))["messages"]
        if found:
            return [message["body"] for message in found]
        assert time.monotonic() < deadline
