"""Two real workers on one Kafka, and how tests of several modules talk to them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.partitioner import partition_of
from streams.operate.processes import Workers, workers
from streams.ports import free_ports

PARTITIONS = 4
START_SECONDS = 60.0
IMPATIENT = {"BROKER_MAX_POLL_INTERVAL": "1"}
"""What a worker meets only after 1,000 s: aiokafka has not been polled for Faust's longest time."""


@contextmanager
def two_workers(kafka: EmbeddedKafka, data: Path, namespace: str, port: int) -> Iterator[Workers]:
    """Run two workers that share a namespace, on free ports from `port` upwards."""
    settings = {
        "STREAMS_BROKERS": kafka.brokers,
        "STREAMS_NAMESPACE": namespace,
        "STREAMS_PARTITIONS": str(PARTITIONS),
        "STREAMS_SESSION_TIMEOUT_SECONDS": "6",
        **IMPATIENT,
    }
    with workers(2, data, "127.0.0.1", free_ports("127.0.0.1", port, 2), settings) as started:
        yield started


def wait_until_ready(running: Workers) -> None:
    """Wait until both answer reads, for tests that have no event loop."""
    deadline = time.monotonic() + START_SECONDS
    for url in running.urls:
        while True:
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline, f"{url} did not come up"
                time.sleep(0.2)


class Cluster:
    """Both workers, as an operator sees and kills them."""

    def __init__(self, running: Workers, session: aiohttp.ClientSession) -> None:
        self.workers = running
        self.session = session

    @property
    def urls(self) -> list[str]:
        return self.workers.urls

    async def post(self, path: str, body: Any, worker: int = 0) -> Any:
        """Post JSON, and return the answer, which must be a success."""
        async with self.session.post(self.urls[worker] + path, json=body) as answer:
            content = await answer.read()
            assert answer.status < 300, (path, answer.status, content)
            return await answer.json() if content else None

    async def get(self, path: str, worker: int = 0) -> Any:
        """Return the JSON at a path."""
        async with self.session.get(self.urls[worker] + path) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

    async def depth(self, queue: str, wanted: int) -> None:
        """Wait until an inbox is so deep."""
        deadline = time.monotonic() + 30
        while True:
            try:
                found = (await self.get(f"/v1/queues/{queue}"))["depth"]
            except AssertionError:
                found = None
            if found == wanted:
                return
            assert time.monotonic() < deadline, (queue, found)
            await asyncio.sleep(0.05)

    async def owners(self) -> list[int]:
        """Return which worker owns each partition of `queues`, once both are up and agree."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = []
            for url in self.urls:
                try:
                    async with self.session.get(f"{url}/readyz") as ready:
                        if ready.status != 200:
                            break
                    async with self.session.get(f"{url}/v1/cluster") as answer:
                        rows = (await answer.json())["partitions"]
                except aiohttp.ClientError:
                    break
                found.append(
                    [
                        self.urls.index(row["owner"])
                        for row in sorted(rows, key=lambda row: row["partition"])
                        if row["table"] == "queues" and row["owner"] in self.urls
                    ]
                )
            if len(found) == 2 and found[0] == found[1] and set(found[0]) == {0, 1}:
                return found[0]
            await asyncio.sleep(0.2)
        raise AssertionError("the workers did not come up")

    async def queue_of(self, worker: int, name: str) -> str:
        """Return the id of a queue, made of `name`, that this worker owns."""
        owners = await self.owners()
        return next(
            queue
            for queue in (f"{name}-{number}" for number in range(1000))
            if owners[partition_of(queue.encode(), PARTITIONS)] == worker
        )

    def kill(self, worker: int) -> None:
        """Kill a worker as a power cut would."""
        process = self.workers.processes[worker].process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def send_signal(self, worker: int, number: signal.Signals) -> None:
        """Send a worker a signal."""
        process = self.workers.processes[worker].process
        assert process is not None
        process.send_signal(number)

    def restart(self, worker: int) -> None:
        """Start a worker again."""
        self.workers.processes[worker].start()
