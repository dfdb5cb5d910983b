"""The embedded Kafka: it starts, stops, keeps its data, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.data_folder import FolderInUse
from streams.kafka.embedded.class_archive import archive
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.embedded.jars import BrokerError
from streams.kafka.embedded.node import java_command


def _create(kafka: EmbeddedKafka, topic: str, replicas: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    new = NewTopic(topic, num_partitions=1, replication_factor=replicas)
    admin.create_topics([new])[topic].result(120)


def _produce(kafka: EmbeddedKafka, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.brokers, "log_level": 0})
    producer.produce(topic, value)
    assert producer.flush(120) == 0


def _read(kafka: EmbeddedKafka, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "test", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = [message.value() for message in consumer.consume(count, 120)]
    consumer.close()
    return values


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_kafka_keeps_its_data_across_restarts(tmp_path: Path) -> None:
    # Given a Kafka that was stopped
    with EmbeddedKafka(tmp_path) as first:
        _create(first, "notes", replicas=1)
        _produce(first, "notes", b"kept")
        pid = first.nodes[0].pid
    assert pid
    assert not _runs(pid)
    assert first.nodes[0].pid is None

    # When another is started in its folder, on another port
    with EmbeddedKafka(tmp_path) as second:
        # Then it has the data of the first
        assert second.brokers != first.brokers
        assert _read(second, "notes", 1) == [b"kept"]

        # And the folder is locked
        with pytest.raises(FolderInUse, match=r"is used by process [0-9]+: stop it"):
            EmbeddedKafka(tmp_path).start()
        second.check()


def test_later_starts_use_the_classes_of_the_first(kafka: EmbeddedKafka) -> None:
    # Given the archive of classes, which is made after the first start of this Java and Kafka
    deadline = time.monotonic() + 300
    while not archive().exists():
        assert not archive().with_suffix(".failed").exists()
        assert time.monotonic() < deadline
        kafka.nodes[0].keep_classes()  # if another process was to do it, and has ended
        time.sleep(0.5)

    # When Java may not start without it, then it does start
    options = ["-XX:+UseSerialGC", "-Xshare:on"]
    command = java_command("kafka.tools.StorageTool", "random-uuid", options=options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.split()) == 1


def test_a_taken_port_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(BrokerError, match=f"^port {port} is taken: .*STREAMS_BROKERS"):
            EmbeddedKafka(tmp_path, port).start()


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given neither jars nor jgo
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    # When, then
    with pytest.raises(BrokerError, match=r"pip install 'group-streams\[embedded\]'"):
        EmbeddedKafka(tmp_path).start()


@pytest.mark.fault
def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    # Given a Kafka started by another process
    program = (
        "import sys, time, pathlib; from streams.kafka.embedded.cluster import EmbeddedKafka\n"
        f"kafka = EmbeddedKafka(pathlib.Path({str(tmp_path)!r})); kafka.start()\n"
        "print(kafka.nodes[0].pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    assert _runs(pid)

    # When that process is killed
    parent.kill()
    parent.wait()
    parent.stdout.close()

    # Then it ends as well
    _wait_until(lambda: not _runs(pid))


@pytest.mark.fault
@pytest.mark.slow
def test_a_cluster_of_three_works_without_one(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path, nodes=3, heap_mib=256) as kafka:
        # Given a topic with three replicas
        _create(kafka, "notes", replicas=3)
        _produce(kafka, "notes", b"1")

        # When one node is killed
        kafka.nodes[0].signal(signal.SIGKILL)
        _wait_until(lambda: kafka.nodes[0].pid is None)

        # Then the others keep working
        with pytest.raises(BrokerError, match=r"^Kafka node 1 has exited: see "):
            kafka.check()
        _produce(kafka, "notes", b"2")

        # And when it is started again, the cluster is whole
        kafka.start()
        kafka.check()
        assert _read(kafka, "notes", 2) == [b"1", b"2"]
