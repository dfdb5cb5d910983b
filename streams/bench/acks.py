"""Acknowledged reads per second through HTTP, from many queues."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

import orjson

from streams.bench.fanout import bindings
from streams.bench.feeding import changes, messages
from streams.bench.figures import Sample
from streams.bench.http import Connection
from streams.bench.stage import Running, Stage
from streams.bench.usage import WORKER, Usage
from streams.partitioner import partition_of
from streams.settings import QUEUES

WHAT = (
    "From full inboxes to empty ones: {connections} connections of one client go through all "
    "queues; each reads with GET, then acks what it got with POST, whose answer means that "
    "Kafka has the ack. Once with all of an inbox (about nine messages) in one answer, once "
    "with one message at a time. The clock stops when the last acked row is gone from `queues`."
)
CONNECTIONS: Final = 64
BODY: Final = b"x" * 128
ALL: Final = 1000


def measure(stage: Stage) -> list[Sample]:
    """Measure one run."""
    size = stage.options.size
    groups = size(2_000, 60)
    pairs = list(bindings(groups))
    samples: list[Sample] = []
    with stage.system() as running:
        running.settle(changes("Bind", pairs))
        empty(running, groups, pairs, "warm", ALL)
        count, seconds, usage = empty(running, groups, pairs, "all", ALL)
        samples += [
            Sample("acked reads, an inbox at a time", count / seconds, "/s"),
            Sample("worker CPU per acked read", usage.cpu[WORKER] * 1e6 / count, "µs"),
            *usage.samples(),
        ]
        count, seconds, usage = empty(running, groups, pairs, "one", 1)
        samples += [
            Sample("acked reads, one at a time", count / seconds, "/s"),
            Sample("worker CPU per acked read of one", usage.cpu[WORKER] * 1e6 / count, "µs"),
            *usage.samples("one at a time: "),
        ]
    return samples


def empty(
    running: Running, groups: int, pairs: list[tuple[str, str]], tag: str, limit: int
) -> tuple[int, float, Usage]:
    """Fill all inboxes and empty them, `limit` messages a time; return how many, how long."""
    running.settle(messages((f"f{number}" for number in range(groups)), tag, BODY))
    depths = Counter(queue for _, queue in pairs)
    running.expect(depths, "depth")
    owners = running.positions.look().owners
    running.meter.start()
    began = time.monotonic()
    count = asyncio.run(_read_all(owners, depths, running.settings.partitions, limit))
    ends = running.positions.ends(running.settings.queue_events)
    seconds = running.positions.until_folded(QUEUES, ends) - began
    usage = running.meter.read()
    running.expect(dict.fromkeys(depths, 0), "depth")
    return count, seconds, usage


async def _read_all(
    owners: Mapping[tuple[str, int], str], depths: Mapping[str, int], partitions: int, limit: int
) -> int:
    """Read and ack everything over all connections; return how many messages that were."""
    by_owner: dict[str, deque[tuple[str, int]]] = {}
    for queue, depth in depths.items():
        owner = owners[QUEUES, partition_of(queue.encode(), partitions)]
        by_owner.setdefault(owner, deque()).append((queue, depth))
    turns = itertools.cycle(by_owner)
    readers = []
    for _ in range(CONNECTIONS):
        owner = next(turns)
        readers.append(_read_some(await Connection.open(owner), by_owner[owner], limit))
    return sum(await asyncio.gather(*readers))


async def _read_some(connection: Connection, left: deque[tuple[str, int]], limit: int) -> int:
    """Empty one queue after the other; return how many messages were acked."""
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
