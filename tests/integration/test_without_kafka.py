"""What a worker says of its readiness while it waits for Kafka, and when Kafka is gone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from confluent_kafka.admin import AdminClient

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import workers
from streams.ports import free_ports

SOON = 180.0
PARTITIONS = 2


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + SOON
    while not await condition():
        assert time.monotonic() < deadline, condition
        await asyncio.sleep(0.2)


async def test_a_worker_without_kafka_says_so(tmp_path: Path) -> None:
    (kafka_port, port) = free_ports("127.0.0.1", 23800, 2)
    brokers = f"127.0.0.1:{kafka_port}"
    environment = {
        "STREAMS_BROKERS": brokers,
        "STREAMS_NAMESPACE": "readiness",
        "STREAMS_PARTITIONS": str(PARTITIONS),
        "STREAMS_SESSION_TIMEOUT_SECONDS": "6",
    }

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=240)) as session:

        async def get(path: str) -> tuple[int, Any]:
            try:
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status, await answer.json()
            except aiohttp.ClientConnectionError:
                return 0, None

        async def says(path: str, status: int, *words: str) -> bool:
            found, content = await get(path)
            return found == status and all(word in str(content) for word in words)

        with workers(1, tmp_path, "127.0.0.1", [port], environment) as started:
            # Given a worker that starts before Kafka, then it answers with the reason
            waits = (503, f"waiting for Kafka at {brokers}: ")
            await until(lambda: says("/readyz", *waits))
            assert await says("/healthz", 200)
            assert await says("/v1/queues/ada", *waits)
            assert await says("/v1/groups/tavern/queues", *waits)
            _, cluster = await get("/v1/cluster")
            assert cluster["ready"] is False
            assert cluster["not_ready"].startswith(f"waiting for Kafka at {brokers}: ")
            async with session.post(
                f"http://127.0.0.1:{port}/v1/groups/tavern/messages",
                json={"sender": "ada", "body": "x"},
            ) as answer:
                assert answer.status == 503

            # When Kafka comes, then it becomes ready
            with EmbeddedKafka(tmp_path / "kafka", kafka_port):
                await until(lambda: says("/readyz", 200))
                _, cluster = await get("/v1/cluster")
                assert (cluster["ready"], cluster["not_ready"]) == (True, None)
                assert await says("/v1/groups/tavern/queues", 200)

                # When Kafka answers, but the log of one table is gone, then it is not ready
                admin = AdminClient({"bootstrap.servers": brokers})
                for deleted in admin.delete_topics(["readiness.queue-events"]).values():
                    await asyncio.to_thread(deleted.result)
                lost = "no access to readiness.queue-events/"
                await until(lambda: says("/readyz", 503, "cannot read their source", lost))
                _, cluster = await get("/v1/cluster")
                rows = {row["table"]: row for row in cluster["partitions"]}
                assert lost in rows["queues"]["lost"]
                assert rows["members"]["lost"] is None

            # And when Kafka goes, then it is not ready, and says why, whatever it is asked
            await until(lambda: says("/readyz", *waits))
            await until(lambda: says("/v1/groups/tavern/queues", *waits))
            await until(lambda: says("/v1/queues/ada", *waits))
            _, cluster = await get("/v1/cluster")
            assert "waiting for Kafka" in cluster["not_ready"]
            assert started.processes[0].exit_code() is None


async def test_a_worker_that_waits_for_kafka_can_be_stopped(tmp_path: Path) -> None:
    kafka_port, port = free_ports("127.0.0.1", 23900, 2)
    environment = {**os.environ, "STREAMS_BROKERS": f"127.0.0.1:{kafka_port}"}
    async with aiohttp.ClientSession() as session:
        with workers(1, tmp_path, "127.0.0.1", [port], environment) as started:

            async def answers() -> bool:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        return answer.status == 503
                except aiohttp.ClientConnectionError:
                    return False

            await until(answers)
            process = started.processes[0].process
            assert process is not None
            process.terminate()
            assert await asyncio.to_thread(process.wait, SOON) is not None
