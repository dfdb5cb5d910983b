"""The embedded Kafka: one node or a small cluster, with its data in one folder.

For a first run, for tests and for debugging.  It is a real Kafka, but its nodes share one
machine: it survives the loss of a process, not of the machine.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.data_folder import DataFolder, utf8
from streams.kafka.embedded.formatting import random_uuid
from streams.kafka.embedded.jars import BrokerError, Progress, jars
from streams.kafka.embedded.node import STOP_SECONDS, Node, NodeAddress
from streams.ports import is_free, private_ports
from streams.stall_timer import StallTimer

START_SECONDS: Final = 180.0
"""How long a start may take; on an idle machine it takes three, a busy one gives it little time."""


class EmbeddedKafka:
    """An embedded Kafka; a context manager that starts and stops it.

    Args:
        data: folder of the logs, created if missing; a later start continues with its data.
        port: port of the first node for clients, or 0 for free ones.
        nodes: how many nodes.  With three, topics can have three replicas, two in sync.
        heap_mib: Java heap of each node.
    """

    def __init__(self, data: Path, port: int = 0, *, nodes: int = 1, heap_mib: int = 512) -> None:
        self.data = data.absolute()
        ports = private_ports(2 * nodes - bool(port))
        if port:
            ports.insert(0, port)
        members = [
            NodeAddress(id=i + 1, port=ports[i], controller_port=ports[nodes + i])
            for i in range(nodes)
        ]
        self.properties: dict[str, str] = {}
        """Broker properties for every node; `start` applies them over the defaults."""
        self.nodes = [Node(m, members, self.data / f"node-{m.id}", heap_mib) for m in members]
        self._folder = DataFolder(self.data)

    @property
    def brokers(self) -> str:
        """All nodes as `host:port,...`, for STREAMS_BROKERS."""
        return ",".join(node.address for node in self.nodes)

    def start(self, progress: Progress | None = None) -> None:
        """Start the nodes that do not run, and return once all of them answer.

        Raises:
            BrokerError: Java or Kafka is missing, a port is taken, a node exited, or not all
                answered in time.  Every node is stopped then.
            StreamsError: the folder is taken or cannot be used.
        """
        utf8(self.data)
        jars(progress)
        self._folder.take()
        try:
            cluster_id = self._cluster_id()
            for node in self.nodes:
                node.start(cluster_id, self._folder.descriptor, self.properties)
            self._folder.shared_with(node.pid for node in self.nodes)
            self.wait()
            self.nodes[0].keep_classes()
        except BaseException:
            self.stop()
            raise

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Return once all nodes know each other and answer.

        Raises:
            BrokerError: a node exited, or the cluster was not complete within `seconds`.
        """
        stall = StallTimer(seconds)
        for node in self.nodes:
            while is_free(node.port):
                self._check(stall)
                time.sleep(0.05)
        admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
        while True:
            try:
                if len(admin.list_topics(timeout=1).brokers) == len(self.nodes):
                    return
            except KafkaException:
                pass  # not yet
            self._check(stall)
            time.sleep(0.05)

    def check(self) -> None:
        """Raise an error if a node has exited.

        Raises:
            BrokerError: a node is not running.
        """
        for node in self.nodes:
            node.check()

    def stop(self) -> None:
        """Stop all nodes at once; returns when none runs."""
        for node in self.nodes:
            node.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for node in self.nodes:
            node.stop(max(0.0, deadline - time.monotonic()))
        self._folder.give_up()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _check(self, stall: StallTimer) -> None:
        self.check()
        if stall.is_stalled(None):
            raise BrokerError(f"Kafka does not answer: see {self.nodes[0].log}")

    def _cluster_id(self) -> str:
        path = self.data / "cluster-id"
        if not path.exists():
            path.write_text(random_uuid())
        return path.read_text().strip()
