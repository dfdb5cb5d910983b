"""Records of producers with a schema registry: Confluent's serializer on a real Kafka.

The registry is a stand-in, see `streams.lab.registry_stand_in`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from two_workers import PARTITIONS, run_workers, wait_until_ready

from streams.events.schema import folder
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.partitioner import partition_of
from streams.lab.registry_stand_in import StandIn

NAMESPACE = "registry"
TOPIC = f"{NAMESPACE}.group-events"
MAIN = "from streams.cli import main; main()"
PATIENCE = 240.0
SLIM = json.dumps(
    {
        "type": "record",
        "name": "Message",
        "namespace": "com.example",
        "fields": [{"name": name, "type": "string"} for name in ("colour", "id", "group", "sender")]
        + [{"name": "body", "type": "bytes"}, {"name": "at", "type": "long"}],
    }
)


@pytest.fixture(scope="module")
def registry() -> Iterator[StandIn]:
    with StandIn() as registry:
        yield registry


@pytest.fixture(scope="module")
def variables(registry: StandIn, kafka: EmbeddedKafka) -> dict[str, str]:
    return {
        "STREAMS_BROKERS": kafka.brokers,
        "STREAMS_NAMESPACE": NAMESPACE,
        "STREAMS_PARTITIONS": str(PARTITIONS),
        "STREAMS_SCHEMA_REGISTRY_URL": registry.url,
    }


@pytest.fixture(scope="module")
def url(
    variables: dict[str, str], kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data")
    with run_workers(1, kafka, data, NAMESPACE, 24700, variables) as running:
        wait_until_ready(running)
        yield running.urls[0]


def streams(variables: dict[str, str], url: str, *arguments: str) -> str:
    """Run a command that must succeed; return its output."""
    port = url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        env={**os.environ, **variables, "STREAMS_HTTP_PORT": port},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def ask(url: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url + path, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def not_ready(url: str) -> str:
    """Return why the worker is not ready, nothing if it is."""
    status, content = ask(url, "/readyz")
    return content if status == 503 else ""


def inbox(url: str, queue: str) -> list[str]:
    status, content = ask(url, f"/v1/queues/{queue}/messages")
    return [m["body"] for m in json.loads(content)["messages"]] if status == 200 else []


class Writer:
    """A producer as Confluent's documentation has it."""

    def __init__(self, kafka: EmbeddedKafka, registry: StandIn) -> None:
        self._producer = Producer({"bootstrap.servers": kafka.brokers})
        self._client = SchemaRegistryClient({"url": registry.url})
        self._serializers: dict[str, AvroSerializer] = {}

    def write(self, schema: str, values: dict[str, Any]) -> None:
        serialize = self._serializers.get(schema)
        if serialize is None:
            config = {
                "subject.name.strategy": lambda _context, name: name,
                "auto.register.schemas": True,
            }
            serialize = AvroSerializer(self._client, schema, conf=config)
            self._serializers[schema] = serialize
        self.raw(
            values["group"], serialize(values, SerializationContext(TOPIC, MessageField.VALUE))
        )

    def raw(self, group: str, value: Any) -> None:
        key = group.encode()
        self._producer.produce(TOPIC, value, key, partition_of(key, PARTITIONS))
        assert self._producer.flush(PATIENCE) == 0


def ours(name: str) -> str:
    return (folder() / f"{name}.avsc").read_text()


def test_records_framed_for_a_registry(
    kafka: EmbeddedKafka, registry: StandIn, variables: dict[str, str], url: str
) -> None:
    # Given our schemas in the registry
    told = streams(variables, url, "schemas", "register")
    assert "streams.v1.Bind has id 1\n" in told
    assert streams(variables, url, "schemas", "register") == told
    writer = Writer(kafka, registry)

    # When a producer binds and sends, with our schema and one of its own
    for queue in ("ann", "bob"):
        writer.write(ours("Bind"), {"group": "g", "queue": queue, "at": 0})
    writer.write(
        ours("Message"), {"id": "1", "group": "g", "sender": "me", "body": b"first", "at": 0}
    )
    slim = {"colour": "red", "id": "2", "group": "g", "sender": "me", "body": b"second", "at": 0}
    writer.write(SLIM, slim)
    until(lambda: inbox(url, "ann") == ["first", "second"], "ann gets both")

    # And with an id that is not in the registry: a dead letter, and the next record counts
    writer.raw("g", b"\0\0\0\3\xe7junk")
    writer.write(SLIM, slim | {"id": "3", "body": b"third"})
    until(lambda: inbox(url, "bob") == ["first", "second", "third"], "bob gets the third")
    letters = streams(variables, url, "tail", "dead-letters", "--from-beginning", "--no-follow")
    assert "schema id 999 is not in the registry" in letters

    # And while the registry is away, with a schema that no worker has read: it waits
    registry.stop()
    fresh = SLIM.replace("colour", "shade")
    registry.schemas[77] = fresh
    value = b"\0\0\0\0M" + b"\6red\x024\2g\4me\x0cfourth\0"
    writer.raw("g", value)
    reason = until(lambda: not_ready(url), "/readyz says that it waits")
    assert f"the schema registry at {registry.url} does not answer" in reason
    _, metrics = ask(url, "/metrics")
    waiting = [line for line in metrics.splitlines() if "registry_waiting{" in line]
    assert sorted(line.rsplit(" ", 1)[1] for line in waiting)[-1] == "1.0"
    # Then the others go on, and it goes on when the registry is back
    other = next(
        name
        for name in map(str, range(99))
        if partition_of(name.encode(), PARTITIONS) != partition_of(b"g", PARTITIONS)
    )
    writer.write(ours("Bind"), {"group": other, "queue": "cid", "at": 0})
    until(lambda: f'"{other}"' in ask(url, "/v1/queues/cid/groups")[1], "cid is bound")
    registry.start()
    until(lambda: inbox(url, "bob")[3:] == ["fourth"], "bob gets the fourth")
    until(lambda: ask(url, "/readyz")[0] == 200, "ready again")

    # And every reader of the log reads them
    history = json.loads(ask(url, "/v1/groups/g/messages?from=0")[1])["messages"]
    assert [m["body"] for m in history] == ["first", "second", "third", "fourth"]
    tail = streams(variables, url, "tail", "group-events", "--from-beginning", "--no-follow")
    assert tail.count("Message") >= 4
    streams(variables, url, "verify")
