"""Namespaces that exist for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient

from streams.kafka.embedded.cluster import EmbeddedKafka


@contextmanager
def temporary(kafka: EmbeddedKafka, name: str) -> Iterator[str]:
    """Give the name of a namespace, and delete its topics afterwards."""
    yield name
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    topics = [t for t in admin.list_topics(timeout=120).topics if t.startswith(f"{name}.")]
    if topics:
        for deleted in admin.delete_topics(topics).values():
            deleted.result(120)
