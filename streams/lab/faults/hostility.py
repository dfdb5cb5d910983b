"""Hostile input, and wrong clocks."""

from __future__ import annotations

import asyncio
import random
import signal
import time

from streams.client.requests import path
from streams.events.codec import encode
from streams.events.records import Ack, Bind, Close, Event, Message, Open, Routed, Unbind
from streams.kafka.clients import open_producer
from streams.kafka.partitioner import partition_of
from streams.lab.faults.catalogue import fault
from streams.lab.faults.evidence import Answers
from streams.lab.faults.harness import FaultHarness
from streams.lab.faults.probe_client import ProbeClient
from streams.settings import Settings

Poison = tuple[str, int, bytes | None, bytes | None]
"""Topic, partition, key, value."""


def _poison(settings: Settings) -> list[Poison]:
    """Return invalid records for both topics."""
    group, queue = b"g0", b"q0"
    partitions = settings.partitions
    groups, queues = settings.group_events, settings.queue_events
    good = encode(Bind("g0", "q0", None, 1))
    made: list[Poison] = []

    def add(topic: str, key: bytes | None, value: bytes | None, away: int = 0) -> None:
        home = partition_of(key or b"", partitions)
        made.append((topic, (home + away) % partitions, key, value))

    for topic, key in ((groups, group), (queues, queue)):
        add(topic, key, b"no avro at all")
        add(topic, key, b"")
        add(topic, key, None)
        add(topic, key, b"\xc3\x01" + bytes(8) + b"unknown schema")
        add(topic, key, good[:-3])
        add(topic, key, good[:10] + b"\xff" * 12)
        add(topic, None, good)
    events: list[tuple[str, bytes, Event]] = [
        (groups, group, Ack("g0", 1)),
        (groups, group, Routed(0)),
        (groups, group, Bind("g1", "q0")),
        (groups, b"@q0", Bind("@q0", "q0")),
        (groups, group, Bind("g0", "")),
        (groups, group, Unbind("g0", "a\0b")),
        (groups, group, Message("", "g0", "me")),
        (groups, group, Message("big", "g0", "me", body=bytes(600 * 1024))),
        (queues, queue, Message("m", "q0", "me")),
        (queues, queue, Bind("q0", "q0")),
        (queues, queue, Ack("q1", 5)),
        (queues, queue, Open("q0", "")),
        (queues, queue, Close("q0", "\x01")),
        (queues, queue, Open("q0", "s", ("@q0",))),
        (queues, queue, Routed(99)),
        (queues, queue, Routed(0, (5,), b"\x01", ("g0",), ("q0",), ())),
        (queues, queue, Routed(0, (5, 4), b"\x01\x01", ("a", "b"), ("q0", "q0"), ("", ""))),
        (
            queues,
            queue,
            Routed(
                0,
                delivery_offsets=(3,),
                delivery_parts=(0,),
                delivery_messages=(b"x",),
                delivery_queues=(("q0",),),
            ),
        ),
    ]
    for topic, key, event in events:
        add(topic, key, encode(event))
    # passes Kafka's limit, which applies to the compressed size
    add(groups, bytes(3 << 20), good)
    add(groups, group, good, away=1)
    add(queues, queue, encode(Ack("q0", 1)), away=1)
    return made


HOSTILE = (
    ("POST", "/v1/groups/g0/messages", b"{"),
    ("POST", "/v1/groups/g0/messages", b"[]"),
    ("POST", "/v1/groups/g0/messages", b'{"sender":"me","body_base64":"%%"}'),
    ("POST", "/v1/groups/g0/messages", b'{"sender":"me","body":"' + b"x" * 300_000 + b'"}'),
    ("PUT", "/v1/groups/%00/queues/q0", None),
    ("PUT", "/v1/groups/@q0/queues/q0", None),
    ("POST", "/v1/queues/q0/acks", b'{"upto":"all"}'),
    ("GET", "/v1/queues/q0/messages?after=-1", None),
    ("GET", "/v1/queues/q0/messages?limit=x", None),
    ("POST", "/v1/events", b'{"type":"nothing"}\n'),
    ("PUT", "/v1/queues/q0/sessions/s", b'{"groups":"g0"}'),
)


@fault(
    "poison",
    "both topics get malformed and hostile records; workers get hostile requests",
    short=True,
)
async def poison(harness: FaultHarness) -> None:
    """Each record becomes a dead letter, and no worker stops."""
    ends = [len(worker.exit_codes) for worker in harness.workers]
    producer = open_producer(
        harness.settings.librdkafka(),
        {
            "message.max.bytes": 4 << 20,
            "compression.type": "lz4",
            "log_level": 0,
        },
    )
    rounds = 3
    for _ in range(rounds):
        for topic, partition, key, value in _poison(harness.settings):
            producer.produce(topic, value, key, partition)
            harness.poison += 1
        await asyncio.to_thread(producer.flush, 30.0)
        await asyncio.sleep(1)
    answers = Answers()
    async with ProbeClient(harness.urls, answers, 0, harness.settings) as client:
        for method, target, body in HOSTILE:
            answer = await client.ask(method, target, body)
            harness.expect(answer.refused, f"{method} {target}: {answer.status}, not 4xx")
    harness.answers.dishonest += answers.dishonest
    await harness.until_ready()
    harness.expect(
        ends == [len(worker.exit_codes) for worker in harness.workers], "a worker has exited"
    )


@fault("retries", "clients send each message three times, concurrently, through all workers")
async def retries(harness: FaultHarness) -> None:
    """A repeated message id within a group is a duplicate."""
    rng = random.Random(f"retries {harness.answers.confirmed}")
    async with ProbeClient(harness.urls, harness.answers, 0, harness.settings) as client:
        for turn in range(5):
            bodies = []
            for number in range(60):
                ident = f"r{time.monotonic_ns()}-{turn}-{number}"
                group = f"g{rng.randrange(harness.load.plan.groups)}"
                bodies += [(group, {"id": ident, "sender": "faults", "body": "again"})] * 3
            rng.shuffle(bodies)

            async def send(group: str, body: dict[str, str]) -> None:
                answer = await client.ask("POST", path("v1", "groups", group, "messages"), body)
                if answer.good:
                    place = (answer.content["partition"], answer.content["offset"])
                    harness.answers.messages[place] = (group, body["id"])
                    harness.answers.confirmed += 1
                else:
                    harness.answers.unknown += 1

            await asyncio.gather(*(send(group, body) for group, body in bodies))
    await harness.until_ready()


@fault("clock-stepped", "one worker's clock is 9 days fast, the other's an hour slow", mix=False)
async def clock_stepped(harness: FaultHarness) -> None:
    """Time in the log comes from the broker, so a worker's clock must not matter."""
    ahead, behind = harness.workers[:2]
    ahead.step_clock(9 * 86_400)
    behind.step_clock(-3_600)
    await asyncio.sleep(3)
    for worker in (ahead, behind):  # local state now looks too old, or from the future
        worker.signal(signal.SIGKILL)
        await harness.until_ready(1.0)
    ahead.step_clock(0)
    behind.step_clock(0)
    await asyncio.sleep(1)
    ahead.signal(signal.SIGKILL)
    await harness.until_ready(1.0)
