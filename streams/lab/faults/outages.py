"""Brokers that end, hang or stay away; links to them that are slow, lossy or dead."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter

from confluent_kafka.admin import AdminClient

from streams.kafka.embedded.node import Node
from streams.lab.faults.catalogue import fault
from streams.lab.faults.link import Weather
from streams.lab.faults.scene import SESSION_SECONDS, Scene

AWAY_SECONDS = 4.0
LINK_SECONDS = 10.0


@fault("broker-killed", "broker SIGKILLed, started again after a while", short=True)
async def broker_killed(scene: Scene) -> None:
    """With one broker nothing can be confirmed meanwhile."""
    began = time.monotonic()
    await scene.rig.call(scene.rig.kafka.nodes[0].kill)
    await asyncio.sleep(AWAY_SECONDS)
    await scene.rig.start()
    scene.notes.append(f"Kafka was away for {time.monotonic() - began:.0f} s")
    await scene.until_ready(0.5)


@fault("broker-restarted", "broker stopped cleanly, started again")
async def broker_restarted(scene: Scene) -> None:
    """As for an upgrade of the only broker."""
    began = time.monotonic()
    await scene.rig.call(scene.rig.kafka.nodes[0].stop)
    await scene.rig.start()
    scene.notes.append(f"Kafka was away for {time.monotonic() - began:.0f} s")
    await scene.until_ready(0.5)


@fault("broker-hangs", "broker SIGSTOPped past the session timeout, SIGCONT")
async def broker_hangs(scene: Scene) -> None:
    """Connections stay, answers do not come; all workers lose their lease."""
    node = scene.rig.kafka.nodes[0]
    node.signal(signal.SIGSTOP)
    await asyncio.sleep(SESSION_SECONDS + 2)
    node.signal(signal.SIGCONT)
    await scene.until_ready(0.5)


def _leader(scene: Scene) -> Node:
    """Return the node that leads most partitions of this scene."""
    admin = AdminClient({"bootstrap.servers": scene.rig.kafka.brokers, "log_level": 0})
    leads: Counter[int] = Counter()
    for name, topic in admin.list_topics(timeout=10).topics.items():
        if name.startswith(f"{scene.settings.namespace}."):
            leads.update(p.leader for p in topic.partitions.values())
    ((most, _),) = leads.most_common(1)
    return next(node for node in scene.rig.kafka.nodes if node.id == most)


@fault("leader-killed", "three brokers: the leader of most partitions killed, back later", nodes=3)
async def leader_killed(scene: Scene) -> None:
    """Replication 3, two in sync: everything goes on with the other two."""
    node = await asyncio.to_thread(_leader, scene)
    await scene.rig.call(node.kill)
    await scene.until_ready(AWAY_SECONDS)
    await scene.rig.start()
    await scene.until_ready(0.5)


@fault("broker-gone", "three brokers: one killed, never comes back", nodes=3, mix=False)
async def broker_gone(scene: Scene) -> None:
    """The checks too are made with two of three."""
    node = await asyncio.to_thread(_leader, scene)
    await scene.rig.call(node.kill)
    await scene.until_ready(AWAY_SECONDS)


@fault(
    "brokers-in-turn", "three brokers: each killed and started again, one after the other", nodes=3
)
async def brokers_in_turn(scene: Scene) -> None:
    """As a careless upgrade does it."""
    for node in scene.rig.kafka.nodes:
        await scene.rig.call(node.kill)
        await asyncio.sleep(AWAY_SECONDS)
        await scene.rig.start()
        await scene.until_ready(0.5)


async def _weather(scene: Scene, weather: Weather, links: int, seconds: float) -> None:
    for link in scene.rig.links[:links]:
        link.weather = weather
    try:
        await asyncio.sleep(seconds)
    finally:
        for link in scene.rig.links[:links]:
            link.weather = Weather()


@fault("link-slow", "links to the broker with 0.1 s more each way, 300 kB/s", linked=True)
async def link_slow(scene: Scene) -> None:
    """Everything takes longer, nothing breaks."""
    await _weather(scene, Weather(delay=0.1, bytes_per_second=300_000), 2, LINK_SECONDS)
    await scene.until_ready()


@fault("link-lossy", "links to the broker that break in the middle of records", linked=True)
async def link_lossy(scene: Scene) -> None:
    """Requests whose answer is lost: was it written or not?"""
    await _weather(scene, Weather(delay=0.005, break_chance=0.01), 2, LINK_SECONDS)
    await scene.until_ready()


@fault("link-dead", "one worker cut off from the broker past its session timeout", linked=True)
async def link_dead(scene: Scene) -> None:
    """It lives, and may answer nothing that has moved to the other worker."""
    worker = scene.workers[0]
    scene.touch(worker)
    await _weather(scene, Weather(dead=True), 1, SESSION_SECONDS + 5)
    await scene.until_ready(0.5)
