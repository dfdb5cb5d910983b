"""Open transactions of other producers: they hold a partition, and the worker says so."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from confluent_kafka import Producer
from two_workers import run_workers, wait_until_ready

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.embedded.tools import kafka_tool
from streams.operate.processes import Workers

SOON = 180.0
VARIABLES = {"STREAMS_PARTITIONS": "1", "STREAMS_SESSION_TIMEOUT_SECONDS": "6"}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + SOON
    while not await condition():
        assert time.monotonic() < deadline, condition
        await asyncio.sleep(0.2)


def open_transaction(kafka: EmbeddedKafka, topic: str, name: str) -> Producer:
    """Append a record in a transaction that stays open, as a producer does that hangs."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.brokers,
            "transactional.id": name,
            "transaction.timeout.ms": 600_000,
            "log_level": 0,
        }
    )
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"not an event", b"somebody", partition=0)
    assert producer.flush(60) == 0
    return producer


def tool(*arguments: str) -> str:
    """Run one of Kafka's tools; return its output."""
    done = subprocess.run(kafka_tool(*arguments), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def said(workers: Workers, *arguments: str) -> str:
    """Run a command for these workers, which succeeds; return what it says on standard error."""
    command = [str(Path(sys.executable).with_name("streams")), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command,
        env=workers.processes[0].environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), SOON)
    assert process.returncode == 0, errors.decode()
    return errors.decode()


async def test_a_transaction_that_holds_a_source_is_shown_and_can_be_aborted(
    kafka: EmbeddedKafka, namespace: str, tmp_path: Path
) -> None:
    topic = f"{namespace}.group-events"
    with run_workers(1, kafka, tmp_path, namespace, 24600, VARIABLES) as running:
        await asyncio.to_thread(wait_until_ready, running)
        (url,) = running.urls
        async with aiohttp.ClientSession(base_url=url) as session:

            async def members_row() -> dict[str, Any]:
                async with session.get("/v1/cluster") as answer:
                    rows = (await answer.json())["partitions"]
                return next(row for row in rows if row["table"] == "members")

            async def held_seconds() -> float:
                async with session.get("/metrics") as answer:
                    text = await answer.text()
                name = f'streams_transaction_held_seconds{{partition="0",topic="{topic}"}} '
                return float(next(x for x in text.splitlines() if x.startswith(name)).split()[-1])

            async def depth() -> int:
                async with session.get("/v1/queues/ada") as answer:
                    return int((await answer.json())["depth"]) if answer.status == 200 else 0

            # Given a queue in a group, and nothing that holds a partition
            async with session.put("/v1/groups/tavern/queues/ada") as answer:
                assert answer.status < 300, await answer.text()

            async def caught_up() -> bool:
                row = await members_row()
                return bool(row["lag"] == 0 and row["position"] > 0)

            await until(caught_up)
            assert (await members_row())["held"] is None
            assert await held_seconds() == 0

            # When somebody's transaction stays open, and messages of others come after it
            producer = open_transaction(kafka, topic, f"{namespace}-somebody")
            for number in range(3):
                async with session.post(
                    "/v1/groups/tavern/messages", json={"sender": "bob", "body": str(number)}
                ) as answer:
                    assert answer.status == 201, await answer.text()
                    confirmed = (await answer.json())["offset"]

            # Then the history and the commands say that they end before them
            async def told() -> dict[str, Any]:
                async with session.get("/v1/groups/tavern/messages?from=0") as answer:
                    return dict(await answer.json())

            page = await told()
            assert page["end"]
            assert page["held"] == page["next"] == confirmed - 3
            async with session.post(
                "/v1/groups/tavern/replays", json={"queue": "late", "from": "0"}
            ) as answer:
                assert (await answer.json())["held"] == page["held"]
            here = f"open transaction of a producer holds the log from offset {page['held']} on"
            assert here in await said(running, "history", "tavern", "--url", url)
            assert here in await said(running, "replay", "tavern", "late", "--url", url)
            held_from = f"{topic}/0: an open transaction of a producer holds the records from"
            assert f"{held_from} offset {page['held']} on" in await said(
                running, "tail", "group-events", "--from-beginning", "--no-follow"
            )
            assert f"{held_from} offset {page['held']} on" in await said(running, "verify")

            # And the history knows that their offsets are offsets
            async with session.get(f"/v1/groups/tavern/messages?from={confirmed}") as answer:
                assert answer.status == 200, await answer.text()
                page = await answer.json()
                assert (page["messages"], page["next"]) == ([], confirmed)
            async with session.get("/v1/groups/tavern/messages?from=1796072270173") as answer:
                assert answer.status == 400

            # And the worker shows what holds the partition, and the lag that it causes
            async def held() -> bool:
                row = await members_row()
                return bool(row["held"] is not None and row["lag"] >= 4)

            await until(held)
            row = await members_row()
            assert row["held"]["offset"] == row["position"]
            assert 0 <= row["held"]["seconds"] < 600
            assert row["lag_seconds"] > 0
            assert await held_seconds() > 0
            assert await depth() == 0
            async with session.get("/v1/cluster") as answer:
                (hold,) = (await answer.json())["holds"]
            assert (hold["topic"], hold["partition"]) == (topic, 0)
            shown = [str(Path(sys.executable).with_name("streams")), "cluster", "--url", url]
            lines = (
                await asyncio.to_thread(subprocess.check_output, shown, text=True)
            ).splitlines()
            assert [x for x in lines if x.startswith("members") and "open transaction" in x]

            # And Kafka's tool finds it, and aborts it
            server = ("transactions", "--bootstrap-server", kafka.brokers)
            place = ("--topic", topic, "--partition", "0")
            found = await asyncio.to_thread(tool, *server, "describe-producers", *place)
            assert str(hold["offset"]) in found
            start = ("--start-offset", str(hold["offset"]))
            await asyncio.to_thread(tool, *server, "abort", *place, *start)

            async def delivered() -> bool:
                return await depth() == 3

            await until(delivered)

            async def free() -> bool:
                row = await members_row()
                return not row["held"] and row["lag"] == 0 and await held_seconds() == 0

            await until(free)
            del producer


async def test_a_restore_waits_for_a_transaction_in_the_changelog(
    kafka: EmbeddedKafka, namespace: str, tmp_path: Path
) -> None:
    topic = f"{namespace}.streams-members-changelog"
    variables = {**VARIABLES, "STREAMS_CHECKPOINT_SECONDS": "0.2"}
    with run_workers(1, kafka, tmp_path / "one", namespace, 24700, variables) as running:
        await asyncio.to_thread(wait_until_ready, running)
        (url,) = running.urls
        async with aiohttp.ClientSession(base_url=url) as session:
            # Given a changelog with an open transaction of somebody, and checkpoints after it
            producer = open_transaction(kafka, topic, f"{namespace}-somebody")
            async with session.put("/v1/groups/tavern/queues/ada") as answer:
                assert answer.status < 300, await answer.text()

            async def saved() -> bool:
                async with session.get("/v1/cluster") as answer:
                    rows = (await answer.json())["partitions"]
                row = next(row for row in rows if row["table"] == "members")
                return bool(row["lag"] == 0 and row["checkpointed"] == row["position"] > 0)

            await until(saved)

    # When a worker restores it from nothing
    with run_workers(1, kafka, tmp_path / "two", namespace, 24700, variables) as running:
        (url,) = running.urls
        async with aiohttp.ClientSession(base_url=url) as session:

            async def row() -> dict[str, Any]:
                try:
                    async with session.get("/v1/cluster") as answer:
                        rows = (await answer.json())["partitions"]
                except aiohttp.ClientError:
                    return {}
                return next(row for row in rows if row["table"] == "members")

            # Then it does not end early, and says what it waits for
            async def held() -> bool:
                return (await row()).get("held") is not None

            await until(held)
            found = await row()
            assert (found["state"], found["ready"]) == ("restoring", False)
            async with session.get("/readyz") as answer:
                assert answer.status == 503
                assert "an open transaction holds" in await answer.text()

            # And goes on when the transaction ends
            producer.abort_transaction(60)

            async def ready() -> bool:
                return bool((await row())["ready"])

            await until(ready)
            found = await row()
            assert found["held"] is None
            assert found["restored_rows"] > 0
            async with session.get("/v1/groups/tavern/queues") as answer:
                assert (await answer.json())["queues"] == ["ada"]
