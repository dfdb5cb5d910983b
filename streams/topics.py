"""The topics of the product: two event topics, the dead letters, and two changelogs.

Knows the settings and how the engine configures its topics; opens no connection.
"""

from __future__ import annotations

from streams.engine.topics import changelog_topic, dead_letter_topic, source_topic
from streams.folds.tables import TABLES
from streams.kafka.topics import Topic
from streams.settings import Settings


def event_topics(settings: Settings) -> list[Topic]:
    """List the topics that hold events, with the retention that the settings ask for."""
    size = settings.partitions, settings.replication
    retention = {"retention.ms": str(settings.retention_ms)}
    return [
        source_topic(settings.group_events, *size).with_config(retention),
        source_topic(settings.queue_events, *size).with_config(retention),
        dead_letter_topic(settings.dead_letters, *size).with_config(retention),
    ]


def product_topics(settings: Settings) -> list[Topic]:
    """List all topics of one namespace."""
    size = settings.partitions, settings.replication
    changelogs = [changelog_topic(settings.changelog(table), *size) for table in TABLES]
    return [*event_topics(settings), *changelogs]
