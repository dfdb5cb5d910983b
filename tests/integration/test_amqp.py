"""AMQP clients of two real workers: each serves every queue, whichever owns it, on real Kafka."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aio_pika
import pika
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from aio_pika.exceptions import ChannelPreconditionFailed
from two_workers import IMPATIENT, Cluster, run_workers, wait_until_ready

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers
from streams.ports import free_ports

SECONDS = 240
AMQP_PORT = 23310
"""Of the first worker, if two ports from here are free."""


@pytest.fixture(scope="module")
def ports() -> list[int]:
    first = AMQP_PORT
    while True:
        found = free_ports("127.0.0.1", first, 2)
        if found[1] == found[0] + 1:
            return found
        first = found[0] + 1


@pytest.fixture(scope="module")
def running(
    kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory, ports: list[int]
) -> Iterator[Workers]:
    variables = {
        "STREAMS_AMQP_PORT": str(ports[0]),
        "STREAMS_SESSION_TIMEOUT_SECONDS": "6",
        **IMPATIENT,
    }
    data = tmp_path_factory.mktemp("amqp")
    with run_workers(2, kafka, data, "amqp", 17406, variables) as started:
        wait_until_ready(started)
        yield started


async def connect(port: int) -> AbstractRobustConnection:
    return await aio_pika.connect_robust(host="127.0.0.1", port=port, reconnect_interval=0.5)


@pytest.mark.parametrize("owner", [0, 1])
async def test_a_queue_is_used_through_both_workers(
    cluster: Cluster, ports: list[int], owner: int
) -> None:
    # Given a queue of one worker, declared through one and bound through the other
    name = await cluster.queue_of(owner, "shared")
    connections = [await connect(port) for port in ports]
    channels = [await one.channel() for one in connections]
    await channels[0].declare_queue(name, durable=True)
    exchange = await channels[0].declare_exchange(f"E{owner}", "direct", durable=True)
    elsewhere = await channels[1].get_exchange(f"E{owner}")
    await (await channels[1].get_queue(name)).bind(elsewhere, "key")

    # When a client has sent a message, then it finds it in the queue, and takes it
    for channel, sender in zip(channels, (exchange, elsewhere), strict=True):
        for number in range(5):
            await sender.publish(aio_pika.Message(b"%d" % number), "key")
            found = await (await channel.get_underlay_channel()).queue_declare(name, passive=True)
            assert found.message_count == 1
            taken = await (await channel.get_queue(name)).get(no_ack=True)
            assert taken is not None
            assert taken.body == b"%d" % number
        await cluster.depth(name, 0)

    # When both publish, and both consume
    got: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    for channel in channels:
        await channel.set_qos(prefetch_count=5)
        await (await channel.get_queue(name)).consume(got.put)
    for number in range(20):
        sender = exchange if number % 2 else elsewhere
        await sender.publish(aio_pika.Message(b"%d" % number), "key")

    # Then each message reaches one of them
    bodies: list[bytes] = []
    async with asyncio.timeout(SECONDS):
        while len(bodies) < 20:
            message = await got.get()
            bodies.append(message.body)
            await message.ack()
    assert sorted(bodies) == sorted(b"%d" % number for number in range(20))
    await cluster.depth(name, 0)
    for connection in connections:
        await connection.close()


async def test_messages_of_a_shared_queue_end_when_they_are_too_old(
    cluster: Cluster, ports: list[int]
) -> None:
    # Given a queue whose messages live for a fifth of a second, declared through another worker
    name = await cluster.queue_of(0, "old")
    connection = await connect(ports[1])
    channel = await connection.channel()
    dead = await channel.declare_queue(f"{name}-dead", durable=True)
    arguments = {
        "x-message-ttl": 200,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead.name,
    }
    await channel.declare_queue(name, durable=True, arguments=arguments)
    await channel.declare_queue(name, durable=True, arguments=arguments)

    # When nobody reads a message, then it becomes a dead letter
    await channel.default_exchange.publish(aio_pika.Message(b"old"), name)
    letters: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await dead.consume(letters.put)
    async with asyncio.timeout(SECONDS):
        letter = await letters.get()
    await letter.ack()
    assert letter.body == b"old"
    assert letter.headers["dead-letter-reason"] == "expired"
    await cluster.depth(name, 0)

    # And another age is another queue
    with pytest.raises(ChannelPreconditionFailed, match="x-message-ttl"):
        await channel.declare_queue(
            name, durable=True, arguments=arguments | {"x-message-ttl": 300}
        )
    await connection.close()


def test_a_blocking_client_of_another_library(running: Workers, ports: list[int]) -> None:
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", ports[0])) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("blocking", durable=True)
        for number in range(3):
            channel.basic_publish("", "blocking", b"%d" % number)
        bodies = []
        for method, _, body in channel.consume("blocking", inactivity_timeout=SECONDS):
            assert method is not None
            bodies.append(body)
            channel.basic_ack(method.delivery_tag or 0)
            if len(bodies) == 3:
                break
        channel.cancel()
        assert bodies == [b"0", b"1", b"2"]
        assert channel.queue_delete("blocking").method.message_count is not None


def test_the_example_runs(running: Workers, ports: list[int]) -> None:
    example = Path(__file__).parents[2] / "examples" / "amqp_pika.py"
    ended = subprocess.run(
        [sys.executable, str(example), str(ports[1])],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split("\n")[:3] == [f"bread: loaf {number}" for number in (1, 2, 3)]


async def test_consumers_go_on_when_their_queues_worker_is_killed(
    cluster: Cluster, ports: list[int]
) -> None:
    # Given a consumer at one worker, of a queue that the other one owns
    name = await cluster.queue_of(1, "moving")
    connection = await connect(ports[0])
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=10)
    queue = await channel.declare_queue(name, durable=True)
    got: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await queue.consume(got.put)
    await channel.default_exchange.publish(aio_pika.Message(b"before"), name)
    async with asyncio.timeout(SECONDS):
        first = await got.get()
    assert first.body == b"before"
    await first.ack()

    # When that worker is killed
    cluster.kill(1)
    async with asyncio.timeout(SECONDS):
        while True:
            with suppress(aio_pika.exceptions.AMQPError):
                await channel.default_exchange.publish(
                    aio_pika.Message(b"after"), name, mandatory=False
                )
                break

    # Then the same consumer gets what comes afterwards
    async with asyncio.timeout(SECONDS):
        while (message := await got.get()).body != b"after":
            await message.ack()
    await message.ack()
    cluster.restart(1)
    await cluster.owners()
    await connection.close()
