"""The operator's commands as a user runs them, with a real Kafka and real workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import workers
from streams.operate.system import System, wait_until_ready
from streams.ports import free_ports
from streams.settings import Settings

MAIN = "from streams.cli import main; main()"


def environment(settings: Settings) -> dict[str, str]:
    return {
        "STREAMS_BROKERS": settings.brokers,
        "STREAMS_NAMESPACE": settings.namespace,
        "STREAMS_PARTITIONS": str(settings.partitions),
        "STREAMS_DATA": str(settings.data),
        "STREAMS_HTTP_PORT": str(settings.http_port),
    }


def start(arguments: tuple[str, ...], variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def streams(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, stdout and stderr."""
    process = start(arguments, environment(settings))
    try:
        output, errors = process.communicate(timeout=180)
    finally:
        process.kill()
    assert "Traceback" not in errors, errors
    return process.returncode, output, errors


def test_topics_are_created_once_and_then_checked(settings: Settings) -> None:
    # Given no topics, the check fails and says what to do
    code, _, errors = streams(settings, "topics", "--check")
    assert code == 1
    assert "`streams topics` creates missing topics" in errors
    # When they are created
    code, output, _ = streams(settings, "topics")
    # Then all exist, and the check succeeds
    assert code == 0
    assert output.count("created") == 5
    assert streams(settings, "topics", "--check")[0] == 0


def test_a_missing_topic_is_reported_in_one_line(settings: Settings) -> None:
    code, output, errors = streams(settings, "tail", "group-events")
    assert (code, output) == (1, "")
    assert errors.count("\n") == 1
    assert "`streams topics` creates" in errors


@pytest.fixture
def running(kafka: EmbeddedKafka, settings: Settings, tmp_path: Path) -> Iterator[System]:
    """Run two workers on fresh topics."""
    assert streams(settings, "topics")[0] == 0
    ports = free_ports("127.0.0.1", 26_100, 2)
    with workers(2, tmp_path, "127.0.0.1", ports, environment(settings)) as started:
        system = System(settings, started, None)
        wait_until_ready(system)
        yield system


def at(system: System, number: int = 0) -> Settings:
    """Return settings with which commands find one of the workers."""
    from dataclasses import replace

    return replace(system.settings, http_port=int(system.workers.urls[number].rpartition(":")[2]))


def test_demo_verify_replay_tail_inspect_and_a_lost_data_folder(
    running: System, tmp_path: Path
) -> None:
    settings = at(running)
    # When the demo plays a small world for a few seconds
    code, output, errors = streams(settings, "demo", "--seconds", "5", "--scale", "0.03")
    # Then it reports that nothing was lost or duplicated
    assert code == 0, output + errors
    assert [line.split()[-1] for line in output.splitlines() if line.startswith("lost")] == ["0"]
    assert "verdict" in output

    # When both tables are verified through the other worker
    code, output, errors = streams(at(running, 1), "verify")
    # Then they match the log
    assert code == 0, errors
    assert "no difference" in output

    # When events are shown
    code, output, _ = streams(
        settings, "tail", "group-events", "--from-beginning", "--no-follow", "--type", "message",
        "--json",
    )  # fmt: skip
    # Then they are decoded and filtered
    messages = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert {message["type"] for message in messages} == {"Message"}
    group, ident = messages[0]["key"], messages[0]["value"]["id"]
    assert messages[0]["value"]["body"].startswith("This is what")

    # And those of one group are described in words
    _, output, _ = streams(
        settings, "tail", "group-events", "--from-beginning", "--no-follow", "--key", group
    )
    assert all(line.split()[3] == group for line in output.splitlines())
    assert f"id={ident}" in output

    # And rows of a changelog are shown
    _, output, _ = streams(settings, "tail", "members-changelog", "--from-beginning", "--no-follow")
    assert " member " in output
    assert " marker " in output

    # When the group is inspected
    code, output, _ = streams(settings, "inspect", "group", group, "--json")
    found = json.loads(output)
    assert code == 0
    assert found["owner"] in running.workers.urls
    assert found["state"] == "ready"

    # And its partition is rebuilt from the log
    partition = found["partition"].split()[0]
    code, output, _ = streams(settings, "replay", "--table", "members", "--partition", partition)
    rows = [json.loads(line) for line in output.splitlines()]
    members = {row["queue"] for row in rows if row["row"] == "member" and row["group"] == group}
    # Then both have the same members
    assert code == 0
    assert set(found["queues"]) <= members
    assert len(members) == len(found["queues"]) or len(found["queues"]) == 20

    # When a worker loses its data folder
    lost = running.workers.processes[0]
    assert lost.process is not None
    lost.process.kill()
    lost.process.wait()
    shutil.rmtree(lost.environment["STREAMS_DATA"])
    lost.start()
    wait_until_ready(running)
    # Then it recovers the same state
    code, output, errors = streams(settings, "verify")
    assert code == 0, errors
    assert "no difference" in output


def test_inspect_an_unknown_queue_and_an_invalid_id(running: System) -> None:
    settings = at(running)
    # Given a queue that was never used
    code, output, _ = streams(settings, "inspect", "queue", "nobody")
    # Then inspecting it shows nothing and is not an error
    assert code == 0
    assert "depth: 0" in output
    assert "groups: none" in output
    # But an invalid id is an error
    code, _, errors = streams(settings, "inspect", "queue", "a\nb")
    assert code == 1
    assert "control characters" in errors


def test_replay_refuses_an_unknown_partition_and_offset(settings: Settings) -> None:
    assert streams(settings, "topics")[0] == 0
    code, _, errors = streams(settings, "replay", "--table", "queues", "--partition", "99")
    assert code == 1
    assert "no partition 99" in errors
    code, _, errors = streams(
        settings, "replay", "--table", "queues", "--partition", "0", "--to", "5"
    )
    assert code == 1
    assert "offsets 0 to 0" in errors
