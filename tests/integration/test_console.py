"""Kafka's own tools on the topics of Streams: their output is readable."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.kafka.embedded.jars import BrokerError
from streams.kafka.embedded.tools import kafka_tool
from streams.kafka.topics import ensure_topics
from streams.operate.console import console_command
from streams.settings import Settings
from streams.topics import product_topics


def _run(command: list[str]) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL
    ).stdout


def test_the_console_consumer_shows_keys_and_headers(settings: Settings) -> None:
    # Given a record as the gateway produces it: the key a plain id, the value bytes
    ensure_topics(settings.librdkafka(), product_topics(settings))
    producer = Producer(settings.librdkafka())
    producer.produce(
        settings.group_events,
        b"\xc3\x01\x00\xff not text",
        key="Tavern-ë".encode(),
        headers=[("type", b"Bind")],
        partition=3,
    )
    assert producer.flush(10) == 0

    # When the console consumer reads one record of the topic, named without the namespace
    shown = _run(console_command(settings, "group-events", "--max-messages", "1"))

    # Then key, headers and value are readable
    (line,) = shown.splitlines()
    time, partition, offset, headers, key = line.split("\t")
    assert time.startswith("LogAppendTime:")
    assert (partition, offset) == ("Partition:3", "Offset:0")
    assert (headers, key) == ("type:Bind", "Tavern-ë")


def test_consumer_groups_shows_the_lag(settings: Settings) -> None:
    # Given three records, of which a consumer group has read one
    ensure_topics(settings.librdkafka(), product_topics(settings))
    producer = Producer(settings.librdkafka())
    for _ in range(3):
        producer.produce(settings.group_events, b"", partition=0)
    assert producer.flush(10) == 0
    consumer = Consumer(settings.librdkafka() | {"group.id": settings.app_id})
    consumer.commit(offsets=[TopicPartition(settings.group_events, 0, 1)], asynchronous=False)
    consumer.close()

    # When the tool is asked about the group
    arguments = ("--bootstrap-server", settings.brokers, "--describe", "--group", settings.app_id)
    shown = _run(kafka_tool("consumer-groups", *arguments))

    # Then it shows offset 1 of 3, lag 2
    (line,) = (line.split() for line in shown.splitlines() if settings.group_events in line)
    assert line[2:6] == ["0", "1", "3", "2"]


def test_an_error_is_one_line(settings: Settings) -> None:
    with pytest.raises(BrokerError, match="there is no topic nonsense; there are: "):
        console_command(settings, "nonsense")
    with pytest.raises(BrokerError, match=r"^no Kafka answers at 127\.0\.0\.1:1: "):
        console_command(replace(settings, brokers="127.0.0.1:1"), "group-events")
    with pytest.raises(BrokerError, match="has no credentials"):
        console_command(replace(settings, kafka_security_protocol="SSL"), "group-events")
