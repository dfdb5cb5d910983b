"""A worker's metrics: those of dashboard and alerts exist, and the values are right.

Also its log: as JSON, every line is one object, and there are few lines.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from two_workers import PARTITIONS, run_workers, wait_until_ready

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers

DOCKER = Path(__file__).parents[2] / "docker"
STOOD_STILL = ("aiokafka.client", "aiokafka.consumer.group_coordinator", "mode.timers")
"""Loggers of libraries that warn when a heartbeat, an answer or a timer was late."""


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """One worker that logs JSON."""
    variables = {"STREAMS_CHECKPOINT_SECONDS": "0.2", "STREAMS_LOG_FORMAT": "json"}
    data = tmp_path_factory.mktemp("metrics")
    with run_workers(1, kafka, data, "metrics", 17866, variables) as started:
        wait_until_ready(started)
        yield started


class Worker:
    """The worker, over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def events(self, *events: dict[str, Any]) -> None:
        body = "\n".join(map(json.dumps, events))
        async with self.session.post(f"{self.url}/v1/events", data=body) as answer:
            assert answer.status == 200, await answer.text()

    async def metrics(self) -> dict[str, float]:
        """Return each sample's value, summed over its labels."""
        async with self.session.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            text = await answer.text()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    async def until(self, name: str, value: float) -> dict[str, float]:
        deadline = time.monotonic() + 120
        while (metrics := await self.metrics())[name] != value:
            assert time.monotonic() < deadline, (name, value, metrics[name])
            await asyncio.sleep(0.1)
        return metrics


@pytest.fixture
async def worker(running: Workers) -> AsyncIterator[Worker]:
    async with aiohttp.ClientSession() as session:
        yield Worker(running.urls[0], session)


@pytest.mark.parametrize("file", ["grafana/streams.json", "alerts.yml"])
async def test_the_metrics_of_dashboard_and_alerts_exist(worker: Worker, file: str) -> None:
    text = (DOCKER / file).read_text()
    named = set(re.findall(r"\b(?:streams|process)_[a-z0-9_]+\b", text))
    assert len(named) > 8

    # Inboxes are sampled, so shortly after the start there are no values yet
    deadline = time.monotonic() + 120
    while missing := named - (await worker.metrics()).keys():
        assert time.monotonic() < deadline, missing
        await asyncio.sleep(0.2)


async def test_events_are_counted(worker: Worker) -> None:
    # Given the counts so far
    before = await worker.metrics()

    # When two queues are bound, one is unbound again, and three messages are sent, one twice
    bind = {"type": "bind", "group": "counted"}
    message = {"type": "message", "group": "counted", "sender": "me", "body": "x"}
    await worker.events(
        bind | {"queue": "a"},
        bind | {"queue": "b"},
        message | {"id": "1"},
        message | {"id": "1"},
        message | {"id": "2"},
        {"type": "unbind", "group": "counted", "queue": "b"},
        message | {"id": "3"},
    )
    await worker.until(
        "streams_inbox_messages_added_total", before["streams_inbox_messages_added_total"] + 5
    )
    url = f"{worker.url}/v1/queues/a/messages"
    async with worker.session.get(url) as answer:
        first = (await answer.json())["messages"][0]["seq"]
    acked = worker.session.post(f"{worker.url}/v1/queues/a/acks", json={"upto": first})
    assert (await acked).status == 204
    after = await worker.until(
        "streams_inbox_messages_removed_total", before["streams_inbox_messages_removed_total"] + 1
    )

    # Then each is counted once
    def grown(name: str) -> float:
        return after[name] - before[name]

    assert grown("streams_binds_total") == 2
    assert grown("streams_unbinds_total") == 1
    assert grown("streams_messages_total") == 3
    assert grown("streams_messages_duplicate_total") == 1
    assert grown("streams_deliveries_total") == 5
    assert grown("streams_acks_total") == 1
    assert grown("streams_publishes_total") == 8
    # And the sampled depth of the queues is right after a while
    await worker.until("streams_inboxes", 2)
    metrics = await worker.until("streams_inbox_messages", 4)
    assert 0 < metrics["streams_inbox_oldest_seconds"] < 120


async def test_a_checkpoint_is_measured(worker: Worker) -> None:
    before = await worker.metrics()
    await worker.events({"type": "bind", "group": "kept", "queue": "kept"})
    deadline = time.monotonic() + 120
    while (after := await worker.metrics())["streams_checkpoint_rows_total"] < before[
        "streams_checkpoint_rows_total"
    ] + 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)

    assert after["streams_checkpoints_total"] > before["streams_checkpoints_total"]
    assert after["streams_checkpoint_seconds_count"] > before["streams_checkpoint_seconds_count"]
    assert after["streams_checkpoints_failed_total"] == 0
    assert after["streams_rocksdb_rows"] > 0
    assert after["streams_partition_ready"] == 2 * PARTITIONS
    assert after["streams_partition_recovery_ratio"] == 2 * PARTITIONS
    assert after["streams_ready"] == 1


async def test_the_lag_of_the_event_loop_is_measured_continuously(worker: Worker) -> None:
    name, began = "streams_event_loop_lag_seconds_count", time.monotonic()
    before = after = (await worker.metrics())[name]
    while after - before < 3:
        assert time.monotonic() < began + 120
        await asyncio.sleep(0.2)
        after = (await worker.metrics())[name]
    assert after - before < 15 * (time.monotonic() - began)


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x", "*/*;q=?", ","])
async def test_every_accept_header_gets_an_answer(worker: Worker, accept: str) -> None:
    async with worker.session.get(f"{worker.url}/metrics", headers={"Accept": accept}) as answer:
        assert answer.status == 200, await answer.text()


async def test_names_follow_the_conventions(worker: Worker) -> None:
    async with worker.session.get(
        f"{worker.url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    ) as answer:
        families = list(openmetrics(await answer.text()))  # type: ignore[no-untyped-call]

    for family in families:
        if family.name.startswith("streams_"):
            assert family.documentation.endswith(".") or family.documentation, family.name
            assert re.fullmatch(r"[a-z][a-z0-9_]+", family.name)
            assert not re.search(r"_(ms|millis|kb|mb|percent)(_|$)", family.name), family.name
            assert (family.type == "counter") == all(
                sample.name.endswith(("_total", "_created")) for sample in family.samples
            ) or not family.samples


async def test_a_scrape_is_cheap(worker: Worker) -> None:
    before = await worker.metrics()
    for _ in range(20):
        after = await worker.metrics()
    # The worker has other work, too, but here there is nothing to do.
    assert after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"] < 5


def test_the_log_is_short_and_every_line_is_an_object(running: Workers) -> None:
    lines = running.processes[0].log.read_text().splitlines()
    records = [json.loads(line) for line in lines]

    assert 2 <= len(records) < 4 * PARTITIONS
    for record in records:
        assert record.keys() - {"exception"} == {"time", "level", "logger", "message", "worker"}
        assert record["worker"] == running.urls[0]
    assert {record["level"] for record in records} <= {"INFO", "WARNING"}
    # Nothing of a library belongs here, but for what it says of a machine that stood still.
    theirs = [record for record in records if not record["logger"].startswith("streams")]
    assert all(record["logger"] in STOOD_STILL for record in theirs), theirs
    assert {record["level"] for record in theirs} <= {"WARNING"}


async def test_gauges_of_inboxes_are_exact_after_churn(worker: Worker) -> None:
    # Given 20,000 queues with a message each: more in a partition than a sampling goes through
    before = await worker.metrics()
    queues = [f"churn-{number:05d}" for number in range(20_000)]
    await worker.events(
        *({"type": "bind", "group": f"churn-{n % 30}", "queue": q} for n, q in enumerate(queues))
    )
    await worker.events(
        *(
            {"type": "message", "group": f"churn-{n}", "sender": "me", "body": "x"}
            for n in range(30)
        )
    )
    await worker.until("streams_inboxes", before["streams_inboxes"] + len(queues))

    # When all of them but fifty are deleted, and then nothing happens
    await worker.events(*({"type": "delete", "queue": q} for n, q in enumerate(queues) if n % 400))

    # Then the gauges become exact
    await worker.until("streams_inboxes", before["streams_inboxes"] + 50)
    await worker.until("streams_inbox_messages", before["streams_inbox_messages"] + 50)
