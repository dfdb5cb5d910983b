"""The topics: which there are, how each is configured, making them and checking them.

Knows Kafka's admin client and the settings; nothing of what the records mean.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
)

from streams.errors import StreamsError, Unavailable
from streams.folds.tables import TABLES
from streams.settings import MIB, Settings

_ANSWER_SECONDS: Final = 10.0
_CHANGE_SECONDS: Final = 30.0
_DAY_MS: Final = 86_400_000

_EXACTLY: Final = ("cleanup.policy", "message.timestamp.type", "retention.ms")
_AT_LEAST: Final = ("delete.retention.ms", "max.message.bytes", "min.insync.replicas")
"""What is checked; the rest of a topic's configuration is its operator's to tune."""


class TopicsError(StreamsError):
    """Topics are missing, or not as the settings want them; each line says which and how."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as the settings want it."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """What `ensure_topics` found and did."""

    created: list[str]
    present: list[str]


def wanted(settings: Settings) -> list[Topic]:
    """List the topics of one namespace.

    The event topics are stamped by the broker: their timestamps are the folds' only clock.
    A changelog keeps the last row of each key; it rolls its segments daily so that the
    cleaner, which leaves the open segment alone, gets at them.
    """
    in_sync = {"min.insync.replicas": str(max(1, settings.replication - 1))}
    events = in_sync | {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(settings.retention_ms),
        "max.message.bytes": str(2 * MIB),
    }
    letters = in_sync | {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.retention_ms),
        "max.message.bytes": str(4 * MIB),
    }
    changelog = in_sync | {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(7 * _DAY_MS),
        "min.compaction.lag.ms": "60000",
        "min.cleanable.dirty.ratio": "0.3",
        "segment.bytes": str(128 * MIB),
        "segment.ms": str(_DAY_MS),
        "max.message.bytes": str(2 * MIB),
    }
    configs = {
        settings.group_events: events,
        settings.queue_events: events,
        settings.dead_letters: letters,
        **{settings.changelog(table): changelog for table in TABLES},
    }
    return [
        Topic(name, settings.partitions, settings.replication, config)
        for name, config in configs.items()
    ]


def ensure_topics(settings: Settings) -> Report:
    """Create the topics that are missing, check the others, and wait for all leaders.

    Any number of processes may call it at once.

    Raises:
        TopicsError: a topic is not as wanted, or cannot be created.
        Unavailable: Kafka does not answer.
    """
    admin = _Admin(settings)
    topics = wanted(settings)
    there = _partition_counts(admin)
    missing = [topic for topic in topics if topic.name not in there]
    created = _create(admin, missing)
    _wait_for_leaders(admin, topics)
    _check_soon(admin, topics)
    return Report(created, [topic.name for topic in topics if topic.name not in created])


def check_topics(settings: Settings) -> None:
    """Check that every topic is there and as wanted; changes nothing.

    Raises:
        TopicsError: a topic is missing or not as wanted.
        Unavailable: Kafka does not answer.
    """
    _check(_Admin(settings), wanted(settings))


def topic_ids(settings: Settings, names: Iterable[str]) -> dict[str, bytes]:
    """Return the id of each topic, 16 bytes: a topic made again has another one (KIP-516).

    Raises:
        Unavailable: Kafka does not answer, or who answers has not heard of a topic (yet).
    """
    described = _Admin(settings).describe_topics(
        TopicCollection(list(names)), request_timeout=_CHANGE_SECONDS
    )
    return {name: _id_bytes(_result(future).topic_id) for name, future in described.items()}


class _Admin(AdminClient):
    """An admin client that knows why Kafka does not answer, and prints nothing of it."""

    def __init__(self, settings: Settings) -> None:
        self._reason = ""
        more: dict[str, Any] = {"log_level": 0, "error_cb": self._note}
        super().__init__(settings.librdkafka() | more)

    def metadata(self) -> dict[str, Any]:
        """Return every topic's metadata by its name.

        Raises:
            Unavailable: Kafka does not answer.
        """
        try:
            return self.list_topics(timeout=_ANSWER_SECONDS).topics
        except KafkaException as error:
            self.poll(0)  # calls _note
            raise Unavailable(f"Kafka does not answer: {self._reason or _text(error)}") from error

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._reason = error.str()


def _create(admin: _Admin, topics: list[Topic]) -> list[str]:
    """Create topics; one that somebody else creates at the same time is left to them."""
    if not topics:
        return []
    new = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=topic.replication,
            config=topic.config,
        )
        for topic in topics
    ]
    created, errors = [], []
    for name, future in admin.create_topics(new, operation_timeout=_CHANGE_SECONDS).items():
        try:
            future.result(_CHANGE_SECONDS)
            created.append(name)
        except KafkaException as error:
            if _code(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                errors.append(f"{name} cannot be created: {_text(error)}")
    if errors:
        raise TopicsError("\n".join(errors))
    return created


def _check_soon(admin: _Admin, topics: list[Topic]) -> None:
    """Check topics that exist by now: one broker may know of them later than another."""
    deadline = time.monotonic() + _CHANGE_SECONDS
    while True:
        try:
            _check(admin, topics)
            return
        except TopicsError as error:
            if "is missing" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _check(admin: _Admin, topics: list[Topic]) -> None:
    errors = list(_differences(admin, topics))
    if errors:
        raise TopicsError("\n".join(errors))


def _differences(admin: _Admin, topics: list[Topic]) -> Iterator[str]:
    there = _partition_counts(admin)
    present = [topic for topic in topics if topic.name in there]
    for topic in topics:
        if topic.name not in there:
            yield f"{topic.name} is missing: run 'streams topics'"
    if not present:
        return
    resources = {
        resource.name: _result(future)
        for resource, future in admin.describe_configs(
            [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in present]
        ).items()
    }
    for topic in present:
        partitions, replication = there[topic.name]
        if partitions != topic.partitions:
            yield (
                f"{topic.name} has {partitions} partitions, not {topic.partitions}: set "
                f"STREAMS_PARTITIONS={partitions}; keys stay where they were hashed to"
            )
        if replication < topic.replication:
            yield (
                f"{topic.name} has {replication} replicas, not {topic.replication}: set "
                f"STREAMS_REPLICATION={replication}, or let Kafka reassign it"
            )
        for name, value in topic.config.items():
            has = resources[topic.name][name].value
            if (name in _EXACTLY and has != value) or (name in _AT_LEAST and int(has) < int(value)):
                yield f"{topic.name} has {name}={has}, not {value}: alter it with kafka-configs"


def _partition_counts(admin: _Admin) -> dict[str, tuple[int, int]]:
    """Partitions and least replicas of every topic there is."""
    return {
        name: (
            len(topic.partitions),
            min((len(partition.replicas) for partition in topic.partitions.values()), default=0),
        )
        for name, topic in admin.metadata().items()
    }


def _wait_for_leaders(admin: _Admin, topics: list[Topic]) -> None:
    deadline = time.monotonic() + _CHANGE_SECONDS
    while True:
        there = admin.metadata()
        if all(
            topic.name in there
            and there[topic.name].partitions
            and all(
                p.leader >= 0 and p.error is None for p in there[topic.name].partitions.values()
            )
            for topic in topics
        ):
            return
        if time.monotonic() > deadline:
            raise Unavailable("some partitions have no leader: are all brokers up?")
        time.sleep(0.05)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result(_CHANGE_SECONDS)
    except KafkaException as error:
        raise Unavailable(f"Kafka does not answer: {_text(error)}") from error


def _id_bytes(topic_id: Any) -> bytes:
    halves = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    return b"".join((half & (1 << 64) - 1).to_bytes(8, "big") for half in halves)


def _code(error: KafkaException) -> int:
    return int(error.args[0].code())


def _text(error: KafkaException) -> str:
    return str(error.args[0].str())
