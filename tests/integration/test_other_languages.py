"""Clients in other languages: C++ with librdkafka and Avro C, and plain curl."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from two_workers import two_workers, wait_until_ready

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers

ROOT = Path(__file__).parents[2]
NAMESPACE = "languages"
PACKAGES = ("rdkafkacpp.h", "avro.h")


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("languages"), NAMESPACE, 17466) as started:
        wait_until_ready(started)
        yield started


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ example, compiled; skipped without a compiler or the libraries."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    if not all(
        any(Path(folder).glob(f"**/{header}"))
        for header, folder in zip(
            PACKAGES, ("/usr/include/librdkafka", "/usr/include"), strict=True
        )
    ):
        pytest.skip("no librdkafka-dev or libavro-dev")
    program = tmp_path_factory.mktemp("cpp") / "chat"
    source = ROOT / "examples/cpp/chat.cpp"
    libraries = ["-lrdkafka++", "-lrdkafka", "-lavro"]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    built = subprocess.run(
        ["g++", "-std=c++17", *warnings, str(source), "-o", str(program), *libraries],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return program


def test_a_program_in_cpp_binds_publishes_receives_and_acks(
    chat: Path, running: Workers, kafka: EmbeddedKafka
) -> None:
    # Given a queue that a C++ program uses, through Kafka alone
    queue = f"cpp-{uuid.uuid4()}"
    arguments = [str(ROOT / "schemas"), kafka.brokers, f"{NAMESPACE}.", f"g-{queue}", queue]

    # When it binds, publishes, and waits for the delivery
    ended = subprocess.run(
        [str(chat), *arguments, "grüezi"], capture_output=True, text=True, timeout=120, check=False
    )

    # Then the message arrives, and HTTP shows its acks and its binding
    assert ended.returncode == 0, ended.stderr
    assert f"from g-{queue}: grüezi" in ended.stdout
    url = running.urls[0]
    deadline = time.monotonic() + 120
    while True:
        with urllib.request.urlopen(f"{url}/v1/queues/{queue}", timeout=120) as answer:
            shown = json.load(answer)
        if (shown["depth"], shown["groups"]) == (0, 1):
            return
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)


def test_plain_curl_is_enough(running: Workers) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    ended = subprocess.run(
        ["bash", str(ROOT / "examples/curl.sh"), running.urls[1]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert '"body":"hello"' in ended.stdout
    assert '"depth":0' in ended.stdout
    assert '{"events":2}' in ended.stdout
