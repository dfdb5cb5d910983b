"""Every example runs unchanged, against two real workers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from two_workers import two_workers, wait_until_ready

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers

APPS = {"word_count", "amqp_pika", "amqp_aio_pika"}
"""Examples that need workers of another kind: `test_engine_alone` and `test_amqp` run them."""
FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if path.stem not in APPS)
NAMESPACE = "examples"


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("examples"), NAMESPACE, 17366) as started:
        wait_until_ready(started)
        yield started


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path, running: Workers, kafka: EmbeddedKafka) -> None:
    arguments = list(running.urls)
    if example.stem == "direct_producer":
        arguments = [running.urls[0], kafka.brokers, NAMESPACE]
    ended = subprocess.run(
        [sys.executable, str(example), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
    assert not ended.stderr


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 10
