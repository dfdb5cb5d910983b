"""The engine without the product: two workers of `examples/word_count.py` count exactly."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.clients import open_producer, open_reader
from streams.kafka.defaults import client_config
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.partitioner import partition_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "word_count.py"
SILENT = Path(__file__).with_name("silent_words.py")
PARTITIONS = 4
WORDS = [b"word-%d" % number for number in range(200)]
PATIENCE_SECONDS = 120.0
CHANGELOG = "word-count-counts-changelog"


class Worker:
    """A worker process of the example."""

    def __init__(self, brokers: str, folder: Path, program: Path = EXAMPLE) -> None:
        self.log = folder / "log"
        folder.mkdir()
        environment = {**os.environ, "WORDS_BROKERS": brokers, "WORDS_DATA": str(folder / "data")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(program), "worker", "--loglevel", "info"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def partitions_ready(self) -> set[str]:
        return set(re.findall(r"counts/(\d) ready at", self.log.read_text()))


@contextmanager
def started(brokers: str, folder: Path, program: Path = EXAMPLE) -> Iterator[Worker]:
    worker = Worker(brokers, folder, program)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()


class Counts:
    """The committed counts, read from the changelog."""

    def __init__(self, brokers: str) -> None:
        self._reader = open_reader(
            client_config(brokers), "test", {"isolation.level": "read_committed"}
        )
        self._reader.assign([TopicPartition(CHANGELOG, n, 0) for n in range(PARTITIONS)])
        self.of: dict[bytes, int] = {}

    def read(self) -> dict[bytes, int]:
        for message in self._reader.consume(10_000, 0.5):
            assert message.error() is None
            bucket, _, word = (message.key() or b"").partition(b"\0")
            if bucket == b"words":
                self.of[word] = int(message.value() or 0)
        return self.of

    def close(self) -> None:
        self._reader.close()


class Load:
    """Produces words in a thread, and counts what Kafka has confirmed."""

    def __init__(self, brokers: str) -> None:
        self._producer = open_producer(
            client_config(brokers), {"enable.idempotence": True, "linger.ms": 5}
        )
        self.sent: Counter[bytes] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        chosen = random.Random(1)
        while not self._stopping.wait(0.02):
            for word in chosen.choices(WORDS, k=50):
                self._send(word)

    def _send(self, word: bytes) -> None:
        self._producer.produce("words", b"", word)
        self._producer.poll(0)
        self.sent[word] += 1

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def end(self) -> list[bytes]:
        """Stop, and send a last word to every partition; return these words."""
        self.stop()
        last = [
            next(w for w in candidates(b"last") if partition_of(w, PARTITIONS) == n)
            for n in range(PARTITIONS)
        ]
        assert self._producer.flush(120) == 0
        for word in last:
            self._send(word)
        assert self._producer.flush(120) == 0
        return last


def candidates(prefix: bytes) -> Iterator[bytes]:
    return (b"%s-%d" % (prefix, number) for number in range(1_000))


def until(condition: Callable[[], bool], workers: list[Worker]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(worker.log.read_text()[-2_000:] for worker in workers)
            pytest.fail(f"not in {PATIENCE_SECONDS:.0f} s; logs:\n{logs}")
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_word_counts_are_exact_when_a_worker_is_killed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        # Given two workers on a Kafka without any topic
        brokers = stack.enter_context(EmbeddedKafka(tmp_path / "kafka")).brokers
        workers = [
            stack.enter_context(started(brokers, tmp_path / name)) for name in ("one", "two")
        ]
        one, two = workers

        def all_ready() -> bool:
            ready = [worker.partitions_ready() for worker in workers]
            return all(ready) and len(ready[0] | ready[1]) == PARTITIONS

        until(all_ready, workers)
        topics = AdminClient(client_config(brokers)).list_topics(timeout=120).topics
        made = {name for name in topics if not name.startswith("__")}
        assert made == {"words", CHANGELOG, "word-count-dead-letters"}

        # When words are counted, and one worker is killed meanwhile
        counts = Counts(brokers)
        stack.callback(counts.close)
        load = Load(brokers)
        stack.callback(load.stop)
        until(lambda: sum(counts.read().values()) > 5_000, workers)
        two.process.kill()
        two.process.wait()
        at_kill = sum(load.sent.values())
        until(lambda: sum(load.sent.values()) > at_kill + 5_000, workers)
        last = load.end()

        # Then the other one takes over, and every word has been counted exactly once
        until(lambda: all(counts.read().get(word) for word in last), workers)
        assert len(one.partitions_ready()) == PARTITIONS
        assert counts.of == load.sent


@pytest.mark.timeout(600)
def test_a_source_that_falls_silent_is_read_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        # Given a worker that counts words
        brokers = stack.enter_context(EmbeddedKafka(tmp_path / "kafka")).brokers
        worker = stack.enter_context(started(brokers, tmp_path / "one", SILENT))
        until(lambda: len(worker.partitions_ready()) == PARTITIONS, [worker])
        counts = Counts(brokers)
        stack.callback(counts.close)
        load = Load(brokers)
        stack.callback(load.stop)
        until(lambda: sum(counts.read().values()) > 1_000, [worker])

        # When its client of Kafka stops fetching, while words go on
        worker.process.send_signal(signal.SIGRTMIN)
        until(lambda: "no record has come from Kafka" in worker.log.read_text(), [worker])
        last = load.end()

        # Then they are read again, and every word has been counted exactly once
        until(lambda: all(counts.read().get(word) for word in last), [worker])
        assert counts.of == load.sent
        assert worker.process.poll() is None
        assert "stuck" not in worker.log.read_text()
