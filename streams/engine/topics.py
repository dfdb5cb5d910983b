"""The topics that an app on the engine needs, derived from its options and tables."""

from __future__ import annotations

from collections.abc import Iterable

from streams.engine.options import EngineOptions
from streams.kafka.topics import MIB, Topic, in_sync

_DAY_MS = 86_400_000

TOMBSTONE_MS = 7 * _DAY_MS
"""How long changelogs keep tombstones. A database that is older is rebuilt, not continued."""


def needed_topics(
    options: EngineOptions, sources: Iterable[str], tables: Iterable[str]
) -> list[Topic]:
    """List the topics of an app: sources, dead letters, changelogs, and its own entries.

    An entry of `options.topics` replaces the derived one of the same name.
    """
    derived = [
        *(source_topic(name, options.partitions, options.replication) for name in sources),
        dead_letter_topic(options.dead_letter_topic, options.partitions, options.replication),
        *(
            changelog_topic(options.changelog(table), options.partitions, options.replication)
            for table in tables
        ),
    ]
    topics = {topic.name: topic for topic in derived}
    topics.update({topic.name: topic for topic in options.topics})
    return list(topics.values())


def source_topic(name: str, partitions: int, replication: int) -> Topic:
    """Return a source topic, whose timestamps are the only clock that folds have.

    The broker sets them (LogAppendTime): the same for every replay, and never from a
    producer's clock. Retention is the broker's default.
    """
    config = {
        **in_sync(replication),
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(2 * MIB),
    }
    return Topic(name, partitions, replication, config)


def dead_letter_topic(name: str, partitions: int, replication: int) -> Topic:
    """Return a topic for records that could not be folded."""
    config = {
        **in_sync(replication),
        "cleanup.policy": "delete",
        "max.message.bytes": str(4 * MIB),
    }
    return Topic(name, partitions, replication, config)


def changelog_topic(name: str, partitions: int, replication: int) -> Topic:
    """Return a changelog: compacted, it keeps the last row of each key.

    Segments are rolled daily, because compaction leaves the open segment alone.
    """
    config = {
        **in_sync(replication),
        "cleanup.policy": "compact",
        "delete.retention.ms": str(TOMBSTONE_MS),
        "min.compaction.lag.ms": "60000",
        "min.cleanable.dirty.ratio": "0.3",
        "segment.bytes": str(128 * MIB),
        "segment.ms": str(_DAY_MS),
        "max.message.bytes": str(2 * MIB),
    }
    return Topic(name, partitions, replication, config)
