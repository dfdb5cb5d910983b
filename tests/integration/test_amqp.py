"""AMQP clients of two real workers: each serves every queue, whichever owns it, on real Kafka."""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aio_pika
import celery_tasks
import pika
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from aio_pika.exceptions import ChannelPreconditionFailed
from celery.exceptions import TaskRevokedError
from two_workers import IMPATIENT, Cluster, run_workers, wait_until_ready

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers
from streams.ports import free_ports

SECONDS = 240
EXAMPLES = Path(__file__).parents[2] / "examples"
JOBS = (("wash", 0), ("clean", 0), ("bake", 2))
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


@pytest.mark.parametrize(
    ("example", "lines"),
    [
        ("amqp_pika", [f"bread: loaf {number}" for number in (1, 2, 3)]),
        ("amqp_aio_pika", [f"{name}: done after {n} failures" for name, n in JOBS]),
    ],
)
def test_an_example_runs(
    running: Workers, ports: list[int], example: str, lines: list[str]
) -> None:
    path = EXAMPLES / f"{example}.py"
    assert run([sys.executable, str(path), str(ports[1])]).splitlines() == lines


def test_a_program_in_c_runs(running: Workers, ports: list[int], tmp_path: Path) -> None:
    if shutil.which("gcc") is None or not Path("/usr/include/amqp.h").exists():
        pytest.skip("no C compiler or no librabbitmq-dev")
    program = tmp_path / "amqp"
    source = EXAMPLES / "c" / "amqp.c"
    warnings = ["-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror"]
    run(["gcc", *warnings, str(source), "-o", str(program), "-lrabbitmq"])
    printed = run([str(program), str(ports[0])])
    assert printed.splitlines() == [f"letter {number}" for number in (1, 2, 3)]


def test_the_tools_of_librabbitmq_work(running: Workers, ports: list[int]) -> None:
    if shutil.which("amqp-publish") is None:
        pytest.skip("no amqp-tools")
    server = ["-s", "127.0.0.1", "--port", str(ports[1])]
    assert run(["amqp-declare-queue", *server, "-d", "-q", "tools"]).strip() == "tools"
    run(["amqp-publish", *server, "-r", "tools", "-p", "-b", "by hand"])
    assert run(["amqp-get", *server, "-q", "tools"]) == "by hand"
    run(["amqp-publish", *server, "-r", "tools", "-p", "-b", "consumed"])
    assert run(["amqp-consume", *server, "-q", "tools", "-c", "1", "cat"]) == "consumed"
    run(["amqp-delete-queue", *server, "-q", "tools"])


def run(command: list[str]) -> str:
    """Run a program to its end; return what it printed."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return ended.stdout


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


@contextmanager
def celery_worker(broker: str, log: Path) -> Iterator[None]:
    """Run a Celery worker with default options but for one process instead of one for each core."""
    command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--pool", "solo"]
    environment = {**os.environ, "CELERY_BROKER": broker}
    with log.open("wb") as out:
        worker = subprocess.Popen(
            command, cwd=Path(__file__).parent, env=environment, stdout=out, stderr=out
        )
        try:
            yield
        finally:
            worker.terminate()
            worker.wait(SECONDS)


def test_celery_works_with_its_default_options(
    running: Workers, ports: list[int], tmp_path: Path
) -> None:
    # Given a Celery worker at one worker, a client of it and who watches its events at the other
    broker, elsewhere = (f"amqp://any:any@127.0.0.1:{port}//" for port in ports)
    app = celery_tasks.app
    app.conf.broker_url = elsewhere
    app.conf.worker_enable_remote_control = True
    seen: queue.Queue[dict[str, Any]] = queue.Queue()
    connection = app.connection_for_read()
    receiver = app.events.Receiver(connection, handlers={"*": seen.put})

    def wait_for_event(kind: str) -> dict[str, Any]:
        while True:
            event = seen.get(timeout=SECONDS)
            if event["type"] == kind:
                return event

    watching = threading.Thread(target=receiver.capture)  # until it should stop
    watching.start()
    try:
        with celery_worker(broker, tmp_path / "celery.txt"):
            # Then its heartbeats are seen, and it does what it is asked to
            name = wait_for_event("worker-heartbeat")["hostname"]
            assert celery_tasks.add.delay(2, 3).get(timeout=SECONDS) == 5
            assert celery_tasks.third_time.delay().get(timeout=SECONDS) == 2
            assert celery_tasks.add.apply_async((1, 1), countdown=0.2).get(timeout=SECONDS) == 2

            # By remote control, too: events of tasks, and a task that is revoked
            control = app.control
            assert control.ping(destination=[name], timeout=SECONDS, limit=1) == [
                {name: {"ok": "pong"}}
            ]
            control.enable_events(reply=True, timeout=SECONDS, limit=1)
            control.revoke("unwanted", reply=True, timeout=SECONDS, limit=1)
            with pytest.raises(TaskRevokedError):
                celery_tasks.add.apply_async((1, 1), task_id="unwanted").get(timeout=SECONDS)
            assert celery_tasks.add.delay(3, 4).get(timeout=SECONDS) == 7
            assert wait_for_event("task-revoked")["uuid"] == "unwanted"
            assert wait_for_event("task-succeeded")["result"] == "7"
        assert wait_for_event("worker-offline")["hostname"] == name
    finally:
        receiver.should_stop = True
        watching.join(SECONDS)
        connection.release()


def test_topics_reach_the_queues_of_every_worker(running: Workers, ports: list[int]) -> None:
    parameters = [pika.ConnectionParameters("127.0.0.1", port) for port in ports]
    with (
        pika.BlockingConnection(parameters[0]) as one,
        pika.BlockingConnection(parameters[1]) as other,
    ):
        binds, publishes = one.channel(), other.channel()
        publishes.confirm_delivery()
        binds.exchange_declare("logs", "topic", durable=True)
        queues = {f"logs-{number}": f"*.{number}.#" for number in range(4)}
        for name, pattern in queues.items():
            binds.queue_declare(name, durable=True)
            binds.queue_bind(name, "logs", pattern)
            binds.queue_bind(name, "logs", "all.#")
        for key in ("a.1", "b.2.c.d", "all.3"):
            publishes.basic_publish("logs", key, key.encode(), mandatory=True)
        with pytest.raises(pika.exceptions.UnroutableError):
            publishes.basic_publish("logs", "a.9", b"", mandatory=True)
        binds.queue_unbind("logs-3", "logs", "all.#")
        publishes.basic_publish("logs", "all", b"end", mandatory=True)
        publishes.basic_publish("logs", "x.3", b"end", mandatory=True)
        expected = {
            "logs-0": [b"all.3"],
            "logs-1": [b"a.1", b"all.3"],
            "logs-2": [b"b.2.c.d", b"all.3"],
            "logs-3": [b"all.3"],
        }
        for name, bodies in expected.items():
            got = []
            for method, _, body in binds.consume(name, auto_ack=True, inactivity_timeout=SECONDS):
                assert method is not None
                got.append(body)
                if body == b"end":
                    break
            binds.cancel()
            assert got == [*bodies, b"end"]
