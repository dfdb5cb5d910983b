"""Fixtures: one real Kafka for the whole run, and a fresh namespace for each test.

Several processes of pytest-xdist share that Kafka: each of them would pay for its start, for its
idle time, and for the slow first minute of every Java program.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from namespaces import temporary
from two_workers import Cluster

from streams.kafka.embedded.cluster import START_SECONDS, EmbeddedKafka
from streams.operate.processes import Workers
from streams.settings import Settings

os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
"""For every Kafka of the tests: they end before Java's optimising compiler would pay."""

KAFKA_PORT = "streams_kafka_port"
"""Key under which a process of pytest-xdist finds the port of the Kafka that all share."""

LONG = [
    "test_faults_in_turn",
    "test_rescale",
    "test_memory",
    "test_faults_of_workers",
    "test_bridge",
    "test_amqp",
    "test_commands",
    "test_kafka_away",
    "test_upgrade",
    "test_access",
    "test_page",
    "test_streaming",
    "test_queue_readers",
    "test_restore",
    "test_engine_alone",
    "test_transactions",
    "test_changelog",
    "test_without_kafka",
    "test_client",
    "test_embedded_kafka",
    "test_documents",
    "test_queues",
    "test_stream_leases",
    "test_up",
    "test_metrics",
    "test_gateway",
    "test_client_queues",
    "test_attacks",
    "test_asking_workers",
    "test_examples",
    "test_bench",
    "test_security",
    "test_schema_registry",
    "test_topics",
]
"""Modules that take longest, in this order: begun last, they would keep the others waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


class SharedKafka:
    """A plugin of the process that distributes the tests: starts their Kafka, and stops it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kafka-")
        self._kafka = EmbeddedKafka(Path(self._folder.name))
        self._start = threading.Thread(target=self._kafka.start)
        self._start.start()

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a new process the port; it waits itself until Kafka answers there."""
        node.workerinput[KAFKA_PORT] = self._kafka.nodes[0].port

    def pytest_unconfigure(self) -> None:
        self._start.join()
        self._kafka.stop()
        self._folder.cleanup()


def pytest_configure(config: pytest.Config) -> None:
    distributes = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if distributes and not config.option.collectonly:
        config.pluginmanager.register(SharedKafka())


@pytest.fixture(scope="session")
def kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedKafka]:
    """A running Kafka of one node; `.brokers` is a value for STREAMS_BROKERS."""
    folder = tmp_path_factory.mktemp("kafka")
    port = getattr(request.config, "workerinput", {}).get(KAFKA_PORT)
    if port is not None:
        shared = EmbeddedKafka(folder, port)
        _wait_for(shared.brokers)
        yield shared
        return
    with EmbeddedKafka(folder) as broker:
        yield broker


def _wait_for(brokers: str) -> None:
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    limit = time.monotonic() + START_SECONDS
    while True:
        try:
            admin.list_topics(timeout=5)
        except KafkaException:
            assert time.monotonic() < limit, f"the Kafka that all processes share: {brokers}"
        else:
            return


@pytest.fixture
def namespace(kafka: EmbeddedKafka) -> Iterator[str]:
    """A fresh STREAMS_NAMESPACE; its topics are deleted after the test."""
    with temporary(kafka, f"t{uuid.uuid4().hex[:12]}") as name:
        yield name


@pytest.fixture
def settings(kafka: EmbeddedKafka, namespace: str, tmp_path: Path) -> Settings:
    """Settings of a worker on that Kafka, in that namespace, with its own data folder."""
    return Settings.from_env(
        {
            "STREAMS_BROKERS": kafka.brokers,
            "STREAMS_NAMESPACE": namespace,
            "STREAMS_DATA": str(tmp_path / "data"),
            "STREAMS_PARTITIONS": "4",
        }
    )


@pytest.fixture
async def cluster(running: Workers) -> AsyncIterator[Cluster]:
    """The workers that the module has `running`, with new connections for each test."""
    timeout = aiohttp.ClientTimeout(total=240)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        cluster = Cluster(running, session)
        await cluster.owners()
        yield cluster
