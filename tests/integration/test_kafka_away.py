"""A worker without Kafka: few log lines, little processor time, and it goes on by itself."""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from two_workers import run_workers

from streams.engine.control import Control
from streams.engine.options import EngineOptions
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import WorkerProcess, Workers

AWAY_SECONDS = 20.0
LINES = 40
"""Most lines of a worker while Kafka goes, is away, and comes back; without counting, a thousand.

What a worker logs meanwhile does not depend on the time: each cause once.
"""
CORE = 0.5
"""Most of a core that a worker may take meanwhile: far more than the 0.02 of a quiet machine,
and less than what any loop without a pause takes."""
PATIENCE = 180.0
PORT = 25_900


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A Kafka that a test may stop; it is not running yet."""
    broker = EmbeddedKafka(tmp_path / "kafka")
    yield broker
    broker.stop()


@pytest.fixture
def running(own_kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[Callable[[], Workers]]:
    """Starts one worker on that Kafka, which ends with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            run_workers(1, own_kafka, tmp_path / "workers", "away", PORT)
        )


def ready(worker: WorkerProcess) -> bool:
    try:
        with urllib.request.urlopen(f"{worker.url}/readyz", timeout=60) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_for(worker: WorkerProcess, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert worker.exit_code() is None, worker.last_lines()
        assert time.monotonic() < deadline, f"{what}\n{worker.last_lines()}"
        time.sleep(0.1)


def lines(worker: WorkerProcess) -> list[str]:
    return worker.log.read_text().splitlines()


def processor_seconds(worker: WorkerProcess) -> float:
    """Return what the worker has taken so far; see proc(5)."""
    assert worker.process is not None
    fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_whose_broker_goes_and_comes_back(
    own_kafka: EmbeddedKafka, running: Callable[[], Workers]
) -> None:
    own_kafka.start()
    (worker,) = running().processes
    wait_for(worker, lambda: ready(worker), "the worker is not ready")
    before = len(lines(worker))

    # When the broker is away for a while
    own_kafka.stop()
    wait_for(worker, lambda: said(worker, "Kafka has not answered for"), "nothing is said")
    took = processor_seconds(worker)
    time.sleep(AWAY_SECONDS)
    took = processor_seconds(worker) - took

    # And comes back
    own_kafka.start()
    wait_for(worker, lambda: said(worker, "Kafka answers again, after"), "nothing is said")
    wait_for(worker, lambda: ready(worker), "the worker is not ready again")

    # Then the worker has said so in few lines, and has slept
    new = lines(worker)[before:]
    assert len(new) <= LINES, "\n".join(new)
    assert sum("Kafka has not answered for" in line for line in new) == 1
    assert sum("Kafka answers again, after" in line for line in new) == 1
    assert took < CORE * AWAY_SECONDS


def test_a_worker_that_starts_before_its_broker(
    own_kafka: EmbeddedKafka, running: Callable[[], Workers]
) -> None:
    (worker,) = running().processes
    wait_for(worker, lambda: said(worker, "topics are not ready, trying again"), "it says nothing")
    time.sleep(AWAY_SECONDS / 2)

    own_kafka.start()
    wait_for(worker, lambda: ready(worker), "the worker is not ready")

    assert said(worker, "Kafka answers again, after")
    assert len(lines(worker)) <= LINES, "\n".join(lines(worker))


def test_a_worker_notices_that_kafka_has_other_addresses(tmp_path: Path) -> None:
    """Whatever its other clients do, the watchdog has to know that Kafka is there."""
    first, second = free_port(), free_port()
    options = EngineOptions(app_id="app", brokers=f"127.0.0.1:{first},127.0.0.1:{second}")
    with EmbeddedKafka(tmp_path / "kafka", first):
        control = Control(options.client, "app", stopping=lambda: True)
        until(lambda: control.writable(set(), 1), "Kafka is not seen")
    until(lambda: not control.writable(set(), 1), "Kafka is still seen")
    with EmbeddedKafka(tmp_path / "kafka", second):
        until(lambda: control.writable(set(), 1), "Kafka is not found at its other address")
        control.close()


def test_the_ends_of_partitions_are_known_after_a_restart_of_kafka(tmp_path: Path) -> None:
    """librdkafka's admin client keeps the leader that it knew, and asks it in vain."""
    port, partition = free_port(), ("words", 0)
    with EmbeddedKafka(tmp_path / "kafka", port) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.brokers})
        admin.create_topics([NewTopic("words", 1, 1)])["words"].result(120)
        control = Control(
            EngineOptions(app_id="app", brokers=kafka.brokers).client, "app", stopping=lambda: True
        )
        until(lambda: partition in control.ends([partition])[0], "Kafka does not tell the end")
    with EmbeddedKafka(tmp_path / "kafka", port):
        until(lambda: partition in control.ends([partition])[0], "the end is not known again")
        control.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def said(worker: WorkerProcess, text: str) -> bool:
    return any(text in line for line in lines(worker))
