"""Real workers on one Kafka, one or two of them, and how tests talk to them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.partitioner import partition_of
from streams.operate.processes import Workers, workers
from streams.ports import free_ports

PARTITIONS = 4
START_SECONDS = 180.0
IMPATIENT = {"BROKER_MAX_POLL_INTERVAL": "1"}
"""Faust's maximum poll interval: a worker would reach the default only after 1,000 s."""

Get: TypeAlias = Callable[[int, str], Awaitable[tuple[int, Any]]]
"""Sends a GET for a path to a worker, by its number; returns status and content."""


@contextmanager
def run_workers(
    count: int,
    kafka: EmbeddedKafka,
    data: Path,
    namespace: str,
    port: int,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Workers]:
    """Run workers that share a namespace, on free ports from `port` upwards.

    `variables` are more environment variables, or other values for these.
    """
    environment = {
        "STREAMS_BROKERS": kafka.brokers,
        "STREAMS_NAMESPACE": namespace,
        "STREAMS_PARTITIONS": str(PARTITIONS),
        **(variables or {}),
    }
    ports = free_ports("127.0.0.1", port, count)
    with workers(count, data, "127.0.0.1", ports, environment) as started:
        yield started


@contextmanager
def two_workers(kafka: EmbeddedKafka, data: Path, namespace: str, port: int) -> Iterator[Workers]:
    """Run two workers that share a namespace and soon notice that one of them is gone."""
    variables = {"STREAMS_SESSION_TIMEOUT_SECONDS": "6", **IMPATIENT}
    with run_workers(2, kafka, data, namespace, port, variables) as started:
        yield started


async def agreed_owners(urls: list[str], get: Get) -> dict[tuple[str, int], int]:
    """Wait until both workers are ready and agree; return which one owns each partition."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found: list[dict[tuple[str, int], int]] = []
        for worker in range(len(urls)):
            try:
                status, cluster = await get(worker, "/v1/cluster")
                ready, _ = await get(worker, "/readyz")
            except aiohttp.ClientError:
                break
            if (status, ready) != (200, 200):
                break
            found.append(
                {
                    (row["table"], row["partition"]): urls.index(row["owner"])
                    for row in cluster["partitions"]
                    if row["owner"] in urls
                }
            )
        if len(found) == 2 and found[0] == found[1] and set(found[0].values()) == {0, 1}:
            return found[0]
        await asyncio.sleep(0.2)
    raise AssertionError("the workers did not become ready")


def queue_owned_by(worker: int, owners: Mapping[tuple[str, int], int], name: str) -> str:
    """Return the id of a queue, made from `name`, whose partition this worker owns."""
    return next(
        queue
        for queue in (f"{name}{number}" for number in range(1000))
        if owners["queues", partition_of(queue.encode(), PARTITIONS)] == worker
    )


def wait_until_ready(running: Workers) -> None:
    """Wait until all workers answer reads, for tests without an event loop."""
    deadline = time.monotonic() + START_SECONDS
    for url in running.urls:
        while True:
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=60):
                    break
            except OSError:
                assert time.monotonic() < deadline, f"{url} did not become ready"
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
        """Post JSON to a worker that must accept it; return the response."""
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
        """Wait until a queue has `wanted` deliveries."""
        deadline = time.monotonic() + 120
        while True:
            try:
                found = (await self.get(f"/v1/queues/{queue}"))["depth"]
            except AssertionError:
                found = None
            if found == wanted:
                return
            assert time.monotonic() < deadline, (queue, found)
            await asyncio.sleep(0.05)

    async def owners(self) -> dict[tuple[str, int], int]:
        """Return which worker owns each partition, once both are ready and agree."""

        async def get(worker: int, path: str) -> tuple[int, Any]:
            async with self.session.get(self.urls[worker] + path) as answer:
                return answer.status, await answer.json()

        return await agreed_owners(self.urls, get)

    async def queue_of(self, worker: int, name: str) -> str:
        """Return the id of a queue, made from `name`, that this worker owns."""
        return queue_owned_by(worker, await self.owners(), f"{name}-")

    def kill(self, worker: int) -> None:
        """Kill a worker with SIGKILL."""
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
        """Start a killed worker again."""
        self.workers.processes[worker].start()
