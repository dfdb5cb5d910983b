"""Another version without a stop: workers of two versions, and the end of an upgrade."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from short_faults import failures_of
from two_workers import PARTITIONS

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.lab.faults import former
from streams.lab.faults.rolling import SHORT
from streams.operate.processes import WorkerProcess, workers
from streams.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.fault]

PATIENCE = 240.0


@pytest.mark.skipif(bool(former.missing()), reason=former.missing() or "")
def test_workers_are_rolled_between_versions_under_load(tmp_path: Path) -> None:
    found = failures_of(SHORT, tmp_path / "faults")
    assert not found, "\n".join(found)


def ask(url: str, method: str, path: str) -> tuple[int, str]:
    """Send a request; return status and content, 0 if nobody answers."""
    try:
        request = urllib.request.Request(url + path, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def until(url: str, path: str, wanted: Callable[[int, str], bool]) -> str:
    """Wait until the answer is as wanted; return it."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(*(found := ask(url, "GET", path))):
        assert time.monotonic() < deadline, (path, found)
        time.sleep(0.1)
    return found[1]


def ready(status: int, _content: str) -> bool:
    return status == 200


def restart(worker: WorkerProcess, app: str) -> None:
    assert worker.process is not None
    worker.process.kill()
    worker.process.wait()
    worker.app = app
    worker.start()


def test_an_older_worker_leaves_an_upgraded_system_alone(
    kafka: EmbeddedKafka, namespace: str, tmp_path: Path
) -> None:
    ports = free_ports("127.0.0.1", 24800, 1)
    variables = {
        "STREAMS_BROKERS": kafka.brokers,
        "STREAMS_NAMESPACE": namespace,
        "STREAMS_PARTITIONS": str(PARTITIONS),
        "STREAMS_HTTP_PORT": str(ports[0]),
        "PYTHONPATH": str(Path(__file__).parent),
    }

    def upgrade(module: str, *options: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", module, "upgrade", *options],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    with workers(1, tmp_path, "127.0.0.1", ports, variables) as running:
        (worker,), (url,) = running.processes, running.urls
        until(url, "/readyz", ready)
        assert ask(url, "PUT", "/v1/groups/g/queues/q")[0] == 204
        # A command of the next version does not finish while a worker is of this one
        code, told = upgrade("next_level", "--finish")
        assert code == 1
        assert "does not know level 2: upgrade it" in told

        # When the worker is of the next version, it can be finished, and again
        restart(worker, "next_level")
        until(url, "/readyz", ready)
        for _ in range(2):
            code, told = upgrade("next_level", "--finish")
            assert code == 0, told
            assert f"all {2 * PARTITIONS} partitions have level 2" in told
        assert ask(url, "PUT", "/v1/groups/h/queues/q")[0] == 204

        # Then a worker of this version opens nothing, says why, and writes no dead letter
        restart(worker, "streams.app")
        reason = until(
            url, "/readyz", lambda status, content: status == 503 and "level 2" in content
        )
        assert "this version knows levels up to 1" in reason
        rows = json.loads(ask(url, "GET", "/v1/cluster")[1])["partitions"]
        assert sum(row["dead_letters"] for row in rows) == 0

        # And the next version goes on where it stopped
        restart(worker, "next_level")
        until(url, "/readyz", ready)
        until(url, "/v1/queues/q/groups", lambda _, content: '["g","h"]' in content)
