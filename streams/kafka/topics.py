"""Creating topics and checking them.

Knows Kafka's admin client only. `streams.engine.topics` lists the topics of an app on the
engine, `streams.topics` those of the product.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

from streams.amounts import counted
from streams.errors import StreamsError, Unavailable
from streams.kafka.errors import unavailable

_ANSWER_SECONDS: Final = 10.0
_CHANGE_SECONDS: Final = 30.0

MIB: Final = 1 << 20

_EXACTLY: Final = ("cleanup.policy", "message.timestamp.type", "retention.ms")
_AT_LEAST: Final = ("delete.retention.ms", "max.message.bytes", "min.insync.replicas")
"""Configuration that is checked. Operators may tune the rest as they like."""


class TopicsError(StreamsError):
    """Topics are missing or not as configured; each line names a topic and what to do."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as an app wants it.

    `config` is set when the topic is created. Of a topic that exists, the number of
    partitions, the replicas, and some of `config` are checked.
    """

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)

    def with_config(self, config: Mapping[str, str]) -> Topic:
        """Return this topic with more configuration."""
        return replace(self, config={**self.config, **config})


def in_sync(replication: int) -> dict[str, str]:
    """Return the configuration by which a topic stays writable with one replica missing."""
    return {"min.insync.replicas": str(max(1, replication - 1))}


@dataclass(frozen=True, slots=True)
class Report:
    """The names of the topics that `ensure_topics` created, and of those it found."""

    created: list[str]
    present: list[str]


def ensure_topics(client: Mapping[str, Any], topics: Sequence[Topic]) -> Report:
    """Create the topics that are missing, check the others, and wait for all leaders. Blocks.

    Several processes may call it at the same time. `client` is the configuration of the
    Kafka client: brokers and security.

    Raises:
        TopicsError: a topic is not as wanted, or cannot be created.
        Unavailable: Kafka cannot be reached, or cannot answer yet.
    """
    admin = _Admin(client)
    there = _partition_counts(admin)
    missing = [topic for topic in topics if topic.name not in there]
    created = _create(admin, missing)
    _wait_for_leaders(admin, topics)
    _check_soon(admin, topics)
    return Report(created, [topic.name for topic in topics if topic.name not in created])


def grow_topics(client: Mapping[str, Any], names: Sequence[str], partitions: int) -> None:
    """Give topics more partitions, and wait for all leaders. Blocks.

    A topic that has as many already is left as it is.

    Args:
        client: the configuration of the Kafka client.
        names: of topics that exist.
        partitions: how many each topic is to have.

    Raises:
        TopicsError: a topic cannot be changed, or has more partitions.
        Unavailable: Kafka cannot be reached, or cannot answer yet.
    """
    admin = _Admin(client)
    there = _partition_counts(admin)
    new = [NewPartitions(name, partitions) for name in names if there[name][0] < partitions]
    if new:
        for name, future in admin.create_partitions(new, request_timeout=_CHANGE_SECONDS).items():
            try:
                future.result(_CHANGE_SECONDS)
            except KafkaException as error:
                if error.args[0].retriable():
                    raise unavailable(f"more partitions for {name}", error) from error
                raise TopicsError(f"{name} gets no more partitions: {_text(error)}") from error
    deadline = time.monotonic() + _CHANGE_SECONDS
    while any(_partition_counts(admin)[name][0] < partitions for name in names):
        if time.monotonic() > deadline:
            raise Unavailable(f"Kafka does not show the new partitions of {', '.join(names)}")
        time.sleep(0.05)
    _wait_for_leaders(admin, [Topic(name, partitions, 1) for name in names])
    more = [name for name in names if _partition_counts(admin)[name][0] > partitions]
    if more:
        raise TopicsError(f"{', '.join(more)}: more than {counted(partitions, 'partition')}")


def check_topics(client: Mapping[str, Any], topics: Sequence[Topic]) -> None:
    """Check that every topic exists as wanted; changes nothing. Blocks.

    Raises:
        TopicsError: a topic is missing or not as wanted.
        Unavailable: Kafka cannot be reached, or cannot answer yet.
    """
    _check(_Admin(client), topics)


def topic_ids(client: Mapping[str, Any], names: Iterable[str]) -> dict[str, bytes]:
    """Return the 16-byte id of each topic; a topic that was recreated has a new id (KIP-516).

    Raises:
        Unavailable: Kafka cannot be reached, or the broker asked does not know a topic (yet).
    """
    admin = _Admin(client)
    described = admin.describe_topics(TopicCollection(list(names)), request_timeout=_CHANGE_SECONDS)
    return {
        name: _id_bytes(_result(f"the description of {name}", future).topic_id)
        for name, future in described.items()
    }


class _Admin(AdminClient):
    """An admin client that remembers why Kafka cannot be reached, and prints nothing.

    Keep a reference until all futures are done.  A client has a thread that makes the results,
    and librdkafka aborts the process if the client is destroyed in that thread.
    """

    def __init__(self, client: Mapping[str, Any]) -> None:
        reason = [""]

        def note(error: KafkaError) -> None:
            # No method: that would make a cycle, and the collector runs in any thread.
            if error.code() != KafkaError._ALL_BROKERS_DOWN:
                reason[0] = error.str()

        self._reason = reason
        config: dict[str, Any] = {
            **client,
            "log_level": 0,
            "error_cb": note,
            "metadata.recovery.strategy": "rebootstrap",  # see `clients.open_admin`
        }
        super().__init__(config)

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of all topics by name.

        Raises:
            Unavailable: Kafka cannot be reached, or refused.
        """
        try:
            return self.list_topics(timeout=_ANSWER_SECONDS).topics
        except KafkaException as error:
            self.poll(0)  # calls `note`
            raise unavailable("the list of topics", error, self._reason[0]) from error


def _create(admin: _Admin, topics: Sequence[Topic]) -> list[str]:
    """Create topics and return their names, without those that another process created."""
    if not topics:
        return []
    new = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=topic.replication,
            config=dict(topic.config),
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


def _check_soon(admin: _Admin, topics: Sequence[Topic]) -> None:
    """Check topics that were just created: some brokers learn of them later than others."""
    deadline = time.monotonic() + _CHANGE_SECONDS
    while True:
        try:
            _check(admin, topics)
            return
        except TopicsError as error:
            if "is missing" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _check(admin: _Admin, topics: Sequence[Topic]) -> None:
    errors = list(_differences(admin, topics))
    if errors:
        raise TopicsError("\n".join(errors))


def _differences(admin: _Admin, topics: Sequence[Topic]) -> Iterator[str]:
    there = _partition_counts(admin)
    present = [topic for topic in topics if topic.name in there]
    for topic in topics:
        if topic.name not in there:
            wanted = counted(topic.partitions, "partition")
            yield f"{topic.name} is missing: create it with {wanted}"
    if not present:
        return
    resources = {
        resource.name: _result(f"the configuration of {resource.name}", future)
        for resource, future in admin.describe_configs(
            [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in present]
        ).items()
    }
    for topic in present:
        partitions, replication = there[topic.name]
        if partitions != topic.partitions:
            yield (
                f"{topic.name} has {counted(partitions, 'partition')}, not {topic.partitions}: set "
                f"partitions to {partitions}; the number cannot change, because it decides the "
                "partition of each key"
            )
        if replication < topic.replication:
            yield (
                f"{topic.name} has {counted(replication, 'replica')}, not {topic.replication}: set "
                f"replication to {replication}, or add replicas with kafka-reassign-partitions"
            )
        for name, value in topic.config.items():
            has = resources[topic.name][name].value
            if (name in _EXACTLY and has != value) or (name in _AT_LEAST and int(has) < int(value)):
                yield f"{topic.name} has {name}={has}, not {value}: alter it with kafka-configs"


def _partition_counts(admin: _Admin) -> dict[str, tuple[int, int]]:
    """Return the number of partitions, and of replicas at least, of every topic."""
    return {
        name: (
            len(topic.partitions),
            min((len(partition.replicas) for partition in topic.partitions.values()), default=0),
        )
        for name, topic in admin.metadata().items()
    }


def _wait_for_leaders(admin: _Admin, topics: Sequence[Topic]) -> None:
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
            raise Unavailable(
                f"no leader for some partitions of {', '.join(t.name for t in topics)}: "
                "check that all brokers are up"
            )
        time.sleep(0.05)


def _result(request: str, future: Future[Any]) -> Any:
    try:
        return future.result(_CHANGE_SECONDS)
    except KafkaException as error:
        raise unavailable(request, error) from error


def _id_bytes(topic_id: Any) -> bytes:
    halves = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    return b"".join((half & (1 << 64) - 1).to_bytes(8, "big") for half in halves)


def _code(error: KafkaException) -> int:
    return int(error.args[0].code())


def _text(error: KafkaException) -> str:
    return str(error.args[0].str())
