"""Brokers that exit, hang or stay down; connections to them that are slow, lossy or dead."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter

from confluent_kafka.admin import AdminClient

from streams.kafka.embedded.node import Node
from streams.lab.faults.catalogue import fault
from streams.lab.faults.harness import SESSION_SECONDS, FaultHarness
from streams.lab.faults.proxy import LinkConditions

AWAY_SECONDS = 4.0
LINK_SECONDS = 10.0


@fault("broker-killed", "the broker is killed and starts again after a while", short=True)
async def broker_killed(harness: FaultHarness) -> None:
    """With one broker, nothing can be confirmed meanwhile."""
    began = time.monotonic()
    await harness.brokers.call(harness.brokers.kafka.nodes[0].kill)
    await asyncio.sleep(AWAY_SECONDS)
    await harness.brokers.start()
    harness.notes.append(f"Kafka was away for {time.monotonic() - began:.0f} s")
    await harness.until_ready(0.5)


@fault("broker-restarted", "the broker stops cleanly and starts again")
async def broker_restarted(harness: FaultHarness) -> None:
    """Like an upgrade of the only broker."""
    began = time.monotonic()
    await harness.brokers.call(harness.brokers.kafka.nodes[0].stop)
    await harness.brokers.start()
    harness.notes.append(f"Kafka was away for {time.monotonic() - began:.0f} s")
    await harness.until_ready(0.5)


@fault("broker-hangs", "the broker is suspended past the session timeout")
async def broker_hangs(harness: FaultHarness) -> None:
    """Connections stay open without answers; all workers lose their membership."""
    node = harness.brokers.kafka.nodes[0]
    node.signal(signal.SIGSTOP)
    await asyncio.sleep(SESSION_SECONDS + 2)
    node.signal(signal.SIGCONT)
    await harness.until_ready(0.5)


def _leader(harness: FaultHarness) -> Node:
    """Return the node that leads most partitions of this system."""
    admin = AdminClient({"bootstrap.servers": harness.brokers.kafka.brokers, "log_level": 0})
    leads: Counter[int] = Counter()
    for name, topic in admin.list_topics(timeout=10).topics.items():
        if name.startswith(f"{harness.settings.namespace}."):
            leads.update(p.leader for p in topic.partitions.values())
    ((most, _),) = leads.most_common(1)
    return next(node for node in harness.brokers.kafka.nodes if node.id == most)


@fault(
    "leader-killed",
    "three brokers: the leader of most partitions is killed and comes back",
    nodes=3,
)
async def leader_killed(harness: FaultHarness) -> None:
    """Replication 3, two in sync: everything continues on the other two."""
    node = await asyncio.to_thread(_leader, harness)
    await harness.brokers.call(node.kill)
    await harness.until_ready(AWAY_SECONDS)
    await harness.brokers.start()
    await harness.until_ready(0.5)


@fault("broker-gone", "three brokers: one is killed and never comes back", nodes=3, mix=False)
async def broker_gone(harness: FaultHarness) -> None:
    """The checks also run with two of three brokers."""
    node = await asyncio.to_thread(_leader, harness)
    await harness.brokers.call(node.kill)
    await harness.until_ready(AWAY_SECONDS)


@fault("brokers-in-turn", "three brokers: each is killed and restarted in turn", nodes=3)
async def brokers_in_turn(harness: FaultHarness) -> None:
    """Like a careless upgrade."""
    for node in harness.brokers.kafka.nodes:
        await harness.brokers.call(node.kill)
        await asyncio.sleep(AWAY_SECONDS)
        await harness.brokers.start()
        await harness.until_ready(0.5)


async def _weather(
    harness: FaultHarness, weather: LinkConditions, links: int, seconds: float
) -> None:
    for link in harness.brokers.links[:links]:
        link.weather = weather
    try:
        await asyncio.sleep(seconds)
    finally:
        for link in harness.brokers.links[:links]:
            link.weather = LinkConditions()


@fault("link-slow", "links to the broker are slow: 0.1 s each way, 300 kB/s", linked=True)
async def link_slow(harness: FaultHarness) -> None:
    """Everything takes longer, but nothing breaks."""
    await _weather(harness, LinkConditions(delay=0.1, bytes_per_second=300_000), 2, LINK_SECONDS)
    await harness.until_ready()


@fault("link-lossy", "links to the broker break in the middle of records", linked=True)
async def link_lossy(harness: FaultHarness) -> None:
    """Answers are lost, so clients do not know whether a record was written."""
    await _weather(harness, LinkConditions(delay=0.005, break_chance=0.01), 2, LINK_SECONDS)
    await harness.until_ready()


@fault("link-dead", "one worker is cut off from the broker past its session timeout", linked=True)
async def link_dead(harness: FaultHarness) -> None:
    """It lives, and may answer nothing that has moved to the other worker."""
    worker = harness.workers[0]
    harness.touch(worker)
    await _weather(harness, LinkConditions(dead=True), 1, SESSION_SECONDS + 5)
    await harness.until_ready(0.5)
