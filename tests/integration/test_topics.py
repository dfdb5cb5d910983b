"""Topics on a real Kafka: created once, as configured, and checked before use."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.errors import Unavailable
from streams.kafka.defaults import client_config
from streams.kafka.topics import TopicsError, check_topics, ensure_topics, topic_ids
from streams.settings import Settings
from streams.topics import product_topics


def test_topics_are_created_once_and_then_left_alone(settings: Settings) -> None:
    # Given a namespace without topics
    with pytest.raises(TopicsError, match="is missing: create it with 4 partitions") as caught:
        check_topics(settings.librdkafka(), product_topics(settings))
    assert str(caught.value).count("\n") == 4

    # When they are ensured twice
    first = ensure_topics(settings.librdkafka(), product_topics(settings))
    second = ensure_topics(settings.librdkafka(), product_topics(settings))

    # Then the first call created all five, the second none, and the check passes
    names = [topic.name for topic in product_topics(settings)]
    assert sorted(first.created) == sorted(names)
    assert first.present == []
    assert second.created == []
    assert second.present == names
    check_topics(settings.librdkafka(), product_topics(settings))


def test_the_broker_stamps_events_with_its_own_clock(settings: Settings) -> None:
    # Given a record with a producer timestamp in 1970
    ensure_topics(settings.librdkafka(), product_topics(settings))
    producer = Producer(settings.librdkafka())
    producer.produce(settings.group_events, b"", partition=0, timestamp=1)
    assert producer.flush(10) == 0

    # When it is read
    consumer = Consumer(settings.librdkafka() | {"group.id": settings.app_id})
    consumer.assign([TopicPartition(settings.group_events, 0, 0)])
    message = consumer.poll(10)
    consumer.close()

    # Then its timestamp is the broker's
    assert message is not None
    kind, at = message.timestamp()
    assert kind == 2  # TIMESTAMP_LOG_APPEND_TIME
    assert at > 1_600_000_000_000


def test_other_partition_counts_are_refused(settings: Settings) -> None:
    ensure_topics(settings.librdkafka(), product_topics(settings))

    with pytest.raises(TopicsError, match="has 4 partitions, not 8: set partitions to 4"):
        ensure_topics(settings.librdkafka(), product_topics(replace(settings, partitions=8)))


def test_another_configuration_is_refused(settings: Settings) -> None:
    # Given a topic of that name with another configuration
    admin = AdminClient(settings.librdkafka())
    made = admin.create_topics(
        [NewTopic(settings.group_events, num_partitions=4, replication_factor=1)]
    )
    made[settings.group_events].result(120)

    # When, then
    with pytest.raises(TopicsError, match=r"message\.timestamp\.type=CreateTime, not LogAppend"):
        ensure_topics(settings.librdkafka(), product_topics(settings))


def test_more_replicas_than_brokers_are_refused(settings: Settings) -> None:
    with pytest.raises(TopicsError, match=r"group-events cannot be created: .*replication"):
        ensure_topics(settings.librdkafka(), product_topics(replace(settings, replication=3)))


def test_an_unreachable_kafka_is_reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.topics._ANSWER_SECONDS", 5.0)

    with pytest.raises(Unavailable, match=r"Kafka does not answer: .*Connection refused"):
        check_topics(client_config("127.0.0.1:1"), product_topics(settings))


def test_topic_ids_are_those_that_kafka_reports(settings: Settings) -> None:
    ensure_topics(settings.librdkafka(), product_topics(settings))
    names = [topic.name for topic in product_topics(settings)]

    found = topic_ids(settings.librdkafka(), names)

    admin = AdminClient(settings.librdkafka())
    described = admin.describe_topics(TopicCollection(names))
    assert {name: b64encode(ident).rstrip(b"=").decode() for name, ident in found.items()} == {
        name: str(future.result(120).topic_id) for name, future in described.items()
    }


def test_a_topic_unknown_to_the_broker_is_unavailable(settings: Settings) -> None:
    with pytest.raises(Unavailable, match=r"Kafka refused .*: .*Unknown topic or partition"):
        topic_ids(settings.librdkafka(), [settings.dead_letters])
