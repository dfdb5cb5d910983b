"""Fixtures: one real Kafka for the whole run, and a fresh namespace for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from namespaces import temporary
from two_workers import Cluster

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers
from streams.settings import Settings

os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
"""For every Kafka of the tests: they end before Java's optimising compiler would pay."""

LONG = [
    "test_faults_of_workers",
    "test_memory",
    "test_bridge",
    "test_amqp",
    "test_commands",
    "test_faults_of_data",
    "test_kafka_away",
    "test_upgrade",
    "test_access",
    "test_page",
    "test_streaming",
    "test_queue_readers",
    "test_restore",
    "test_faults_of_brokers",
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


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A running Kafka of one node; `.brokers` is a value for STREAMS_BROKERS."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


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
