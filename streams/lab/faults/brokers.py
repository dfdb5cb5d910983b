"""The brokers of a suite: one node behind proxies, or three nodes.

One thread starts and stops the nodes, and lives as long as the suite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.lab.faults.proxy import TcpProxy
from streams.lab.faults.securing import Security
from streams.ports import free_ports

T = TypeVar("T")

HOST = "127.0.0.1"
LINKS = 2
FIRST_PORT = 18_000
QUICK = {
    "log.cleaner.backoff.ms": "500",
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
}
"""Broker settings that make periodic work happen almost at once."""


class Brokers:
    """An embedded Kafka; with one node, the first workers can reach it through proxies.

    With `security`, one node has TLS on every listener that workers use; three nodes have none,
    since their listeners differ and their properties do not.
    """

    def __init__(
        self, folder: Path, nodes: int, seed: int, security: Security | None = None
    ) -> None:
        self.nodes = nodes
        self.security = security if nodes == 1 else None
        self._direct = ""
        """Address of the node's listener with TLS."""
        self.kafka = EmbeddedKafka(folder, nodes=nodes, heap_mib=320 if nodes > 1 else 512)
        self.kafka.properties.update(QUICK)
        self.links: list[TcpProxy] = []
        if nodes == 1:
            self._add_links(seed)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="brokers")

    def _add_links(self, seed: int) -> None:
        """Add a listener behind each proxy that advertises the proxy's address to clients."""
        node = self.kafka.nodes[0]
        ports = free_ports(HOST, FIRST_PORT, 2 * LINKS + 1)
        protocol = "PLAINTEXT" if self.security is None else "SSL"
        listeners = [f"PLAINTEXT://{HOST}:{node.port}"]
        advertised = [f"PLAINTEXT://{HOST}:{node.port}"]
        names = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
        for number in range(LINKS):
            behind, front = ports[2 * number : 2 * number + 2]
            listeners.append(f"LINK{number}://{HOST}:{behind}")
            advertised.append(f"LINK{number}://{HOST}:{front}")
            names.append(f"LINK{number}:{protocol}")
            self.links.append(TcpProxy(front, behind, seed))
            if self.security is not None:
                self.kafka.properties.update(self.security.kafka(f"LINK{number}"))
        if self.security is not None:
            self._direct = f"{HOST}:{ports[-1]}"
            listeners.append(f"DIRECT://{self._direct}")
            advertised.append(f"DIRECT://{self._direct}")
            names.append("DIRECT:SSL")
            self.kafka.properties.update(self.security.kafka("DIRECT"))
        listeners.append(f"CONTROLLER://{HOST}:{node.controller_port}")
        self.kafka.properties.update(
            {
                "listeners": ",".join(listeners),
                "advertised.listeners": ",".join(advertised),
                "listener.security.protocol.map": ",".join(names),
            }
        )

    @property
    def replication(self) -> int:
        """Replication factor of the topics."""
        return self.nodes

    def bootstrap(self, link: int | None = None) -> str:
        """Return STREAMS_BROKERS for a worker: the address of a proxy, or of the nodes."""
        direct = self._direct or self.kafka.brokers
        return direct if link is None else f"{HOST}:{self.links[link].port}"

    async def call(self, act: Callable[[], T]) -> T:
        """Run `act` in the nodes' thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    async def start(self) -> None:
        """Start nodes and proxies that do not run; return once all nodes answer."""
        await self.call(self.kafka.start)
        for link in self.links:
            if not link.started:
                link.start()

    async def stop(self) -> None:
        """Stop everything."""
        await self.call(self.kafka.stop)
        for link in self.links:
            if link.started:
                link.close()
        self._thread.shutdown()
