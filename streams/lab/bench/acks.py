"""Acknowledged reads per second through HTTP and through WebSockets, from many queues."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import orjson
from aiohttp import ClientSession

from streams.errors import StreamsError
from streams.folds.tables import QUEUES
from streams.kafka.partitioner import partition_of
from streams.lab.bench.fanout import bindings
from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness, RunningSystem
from streams.lab.bench.http_client import BenchConnection
from streams.lab.bench.producing import changes, messages
from streams.lab.bench.usage import Usage

WHAT = (
    "Empty full inboxes. By HTTP, {connections} connections of one client go through all queues: "
    "they GET the messages and POST the acks, which Kafka has when the answer comes; once with a "
    "whole inbox (about nine messages) per answer, once with one message at a time. By "
    "WebSocket, {sockets} connections with {window} subscriptions each ack every array of frames "
    "in one array; answers mean the same. The clock stops when the last acked row is gone from "
    "`queues`."
)
CONNECTIONS: Final = 64
SOCKETS: Final = 8
WINDOW: Final = 64
"""Queues that one WebSocket is subscribed to at a time."""
BODY: Final = b"x" * 128
ALL: Final = 1000
PATIENCE_SECONDS: Final = 30.0

Remaining = deque[tuple[str, int]]
"""Queues left to empty, each with its depth."""
Frame = dict[str, str | int]
Empty = Callable[[str, Remaining], Awaitable[int]]
"""Empties queues over one connection to the worker at a URL; returns how many were acked."""


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    groups = harness.options.size(2_000, 60)
    pairs = list(bindings(groups))
    ways: dict[str, tuple[int, Empty]] = {
        "by HTTP, an inbox at a time": (CONNECTIONS, partial(_read, ALL)),
        "by HTTP, one at a time": (CONNECTIONS, partial(_read, 1)),
        "by WebSocket": (SOCKETS, _stream),
    }
    samples: list[Measurement] = []
    with harness.system() as running:
        running.settle(changes("Bind", pairs))
        empty(running, groups, pairs, "warm", *ways["by HTTP, an inbox at a time"])
        for number, (way, (connections, how)) in enumerate(ways.items()):
            count, seconds, usage = empty(running, groups, pairs, f"{number}", connections, how)
            samples += [
                Measurement(f"acked reads {way}", count / seconds, "/s"),
                *usage.micros(f"acked read {way}", count),
                *usage.samples(f"{way}: "),
            ]
    return samples


def empty(
    running: RunningSystem,
    groups: int,
    pairs: list[tuple[str, str]],
    tag: str,
    connections: int,
    how: Empty,
) -> tuple[int, float, Usage]:
    """Fill and empty all inboxes; return the number of messages, the seconds and the usage."""
    running.settle(messages((f"f{number}" for number in range(groups)), tag, BODY))
    depths = Counter(queue for _, queue in pairs)
    running.expect(depths, "depth")
    owners = running.positions.look().owners
    by_owner: dict[str, Remaining] = {}
    for queue, depth in depths.items():
        owner = owners[QUEUES, partition_of(queue.encode(), running.settings.partitions)]
        by_owner.setdefault(owner, deque()).append((queue, depth))

    async def empty_all() -> int:
        some = itertools.islice(itertools.cycle(by_owner.items()), connections)
        return sum(await asyncio.gather(*(how(owner, left) for owner, left in some)))

    running.meter.start()
    began = time.monotonic()
    count = asyncio.run(empty_all())
    ends = running.positions.ends(running.settings.queue_events)
    seconds = running.positions.until_folded(QUEUES, ends) - began
    usage = running.meter.read()
    running.expect(dict.fromkeys(depths, 0), "depth")
    return count, seconds, usage


async def _read(limit: int, url: str, left: Remaining) -> int:
    """Empty the queues one by one over HTTP, `limit` messages at a time."""
    connection = await BenchConnection.open(url)
    count = 0
    while left:
        queue, depth = left.popleft()
        get, post = f"/v1/queues/{queue}/messages?limit={limit}", f"/v1/queues/{queue}/acks"
        after = 0
        while depth > 0:
            answer = orjson.loads(await connection.ask("GET", f"{get}&after={after}"))
            found = answer["messages"]
            after = found[-1]["seq"]
            await connection.ask("POST", post, b'{"upto":%d}' % after)
            depth -= len(found)
            count += len(found)
    connection.close()
    return count


async def _stream(url: str, left: Remaining) -> int:
    """Empty many queues concurrently over one WebSocket, in arrays of frames."""
    count = 0
    last: dict[str, int] = {}
    unread: dict[str, int] = {}
    path = f"{url}/v1/stream?batch=1"
    async with ClientSession() as session, session.ws_connect(path) as socket:

        def subscribe() -> list[Frame]:
            if not left:
                return []
            queue, unread[queue] = left.popleft()
            return [{"type": "subscribe", "queue": queue, "after": 0, "credit": unread[queue]}]

        answers = [frame for _ in range(WINDOW) for frame in subscribe()]
        while unread:
            if answers:
                await socket.send_str(orjson.dumps(answers).decode())
            answers = []
            read: set[str] = set()
            for frame in orjson.loads(await socket.receive_str(timeout=PATIENCE_SECONDS)):
                kind, queue = frame["type"], frame.get("queue")
                if kind == "message":
                    last[queue] = frame["seq"]
                    unread[queue] -= 1
                    count += 1
                    read.add(queue)
                elif kind == "acked":
                    if not unread[queue] and frame["upto"] == last[queue]:
                        del unread[queue]
                        answers.append({"type": "unsubscribe", "queue": queue})
                        answers += subscribe()
                elif kind not in ("subscribed", "unsubscribed"):
                    raise StreamsError(f"unexpected frame: {frame}")
            answers += [{"type": "ack", "queue": queue, "upto": last[queue]} for queue in read]
    return count
