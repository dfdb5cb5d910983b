"""The documented ACLs of Kafka: workers need no more, and producers can do no more."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from two_workers import PARTITIONS, run_workers, wait_until_ready

from streams.events.codec import encode
from streams.events.records import Message
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.embedded.node import java_command
from streams.kafka.partitioner import partition_of

SECONDS = 180.0
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "publish-to-kafka.md"


def write(producer: Producer, topic: str, key: str, value: bytes) -> None:
    """Write a record to the partition of its key; raise what Kafka answers."""
    failed: list[KafkaError] = []

    def confirmed(error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    partition = partition_of(key.encode(), PARTITIONS)
    producer.produce(topic, value, key, partition, on_delivery=confirmed)
    assert producer.flush(SECONDS) == 0
    if failed:
        raise KafkaException(failed[0])


USERS = {"admin": "a-secret", "streams": "s-secret", "producer": "p-secret"}


def credentials(user: str) -> dict[str, Any]:
    """Return librdkafka's configuration for a user."""
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "PLAIN",
        "sasl.username": user,
        "sasl.password": USERS[user],
    }


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """Address of a Kafka that authorises by ACLs; it has three users and no ACL."""
    kafka = EmbeddedKafka(tmp_path / "kafka")
    (node,) = kafka.nodes
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listeners = f"PLAINTEXT://{node.address},GUARDED://127.0.0.1:{port}"
    users = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    kafka.properties |= {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",  # the broker itself is ANONYMOUS
    }
    with kafka:
        yield f"127.0.0.1:{port}"


def acl_commands(text: str) -> list[list[str]]:
    """Return the arguments of each `kafka-acls` of a page."""
    joined = text.replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in joined.splitlines() if line.startswith("kafka-acls ")]


def test_with_the_documented_acls_workers_work_and_producers_write_group_events_only(
    guarded: str, tmp_path: Path
) -> None:
    # Given the ACLs of the documentation
    config = tmp_path / "admin.properties"
    config.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="admin" password="{USERS["admin"]}";\n'
    )
    commands = acl_commands(PAGE.read_text())
    assert len(commands) == 3
    for arguments in commands:
        filled = [
            {"HOST:PORT": guarded, "admin.properties": str(config)}.get(one, one)
            for one in arguments
        ]
        command = java_command("org.apache.kafka.tools.AclCommand", *filled)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    # When a worker runs with them
    variables = {
        "STREAMS_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "STREAMS_KAFKA_SASL_MECHANISM": "PLAIN",
        "STREAMS_KAFKA_SASL_USERNAME": "streams",
        "STREAMS_KAFKA_SASL_PASSWORD": USERS["streams"],
    }
    stand_in: Any = SimpleNamespace(brokers=guarded)
    with run_workers(1, stand_in, tmp_path / "data", "", 17966, variables) as started:
        wait_until_ready(started)

        # Then a producer may write to group-events, and the worker folds it
        producer = Producer({"bootstrap.servers": guarded, **credentials("producer")})
        message = Message("m", "@q", "me", body=b"from a producer")
        write(producer, "group-events", "@q", encode(message))
        _wait_for_body(started.urls[0], "from a producer")

        # And to no other topic
        for topic in ("queue-events", "dead-letters", "streams-members-changelog"):
            with pytest.raises(KafkaException) as refused:
                write(producer, topic, "q", encode(replace(message, id="n")))
            assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, topic

        # And it may not learn the id of queue-events, from which the number follows
        reader = Consumer(
            {"bootstrap.servers": guarded, "group.id": "curious", **credentials("producer")}
        )
        try:
            assert set(reader.list_topics(timeout=SECONDS).topics) == {"group-events"}
        finally:
            reader.close()


def _wait_for_body(url: str, wanted: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        with urllib.request.urlopen(f"{url}/v1/queues/q/messages?wait=1", timeout=90) as answer:
            if [message["body"] for message in json.load(answer)["messages"]] == [wanted]:
                return
        assert time.monotonic() < deadline
