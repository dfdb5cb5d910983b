"""More partitions in place: under load all workers die, and the command dies after each step."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_restore import (
    LIMIT,
    READERS,
    ROOMS,
    emptied,
    patient_client,
    place,
    queues_of_all_kinds,
    some_inbox,
    streams,
    verified,
    whole_inbox,
)
from two_workers import run_workers

from streams.client import Client
from streams.errors import StreamsError
from streams.events.codec import encode
from streams.events.records import Message
from streams.kafka.clients import open_producer
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.partitioner import partition_of
from streams.operate.processes import Workers
from streams.operate.rescale.rescaling import Rescaled, rescale
from streams.settings import Settings

STEPS = ["drain", "begin", "changelogs", "first rows", "sources", "copy", "copied", "clean"]


class Died(Exception):
    """The command has died."""


def rescaled(settings: Settings, partitions: int, dies_after: str | None = None) -> Rescaled:
    def after_step(step: str) -> None:
        if step == dies_after:
            raise Died(step)

    with tempfile.TemporaryDirectory() as folder:
        return rescale(settings, partitions, Path(folder), after_step)


async def until_workers_are_gone(settings: Settings, partitions: int) -> str:
    """Ask for a rescale that is refused, until Kafka has noticed that all workers are dead."""
    async with asyncio.timeout(LIMIT):
        while True:
            with pytest.raises(StreamsError) as refused:
                await asyncio.to_thread(rescaled, settings, partitions)
            if "running worker" not in str(refused.value):
                return str(refused.value)
            await asyncio.sleep(0.2)


def kill_all(workers: Workers) -> None:
    for worker in workers.processes:
        assert worker.process is not None
        worker.process.kill()
        worker.process.wait()


async def test_partitions_are_split_in_place_whatever_dies(
    kafka: EmbeddedKafka, namespace: str, tmp_path: Path
) -> None:
    before, after = place(kafka, namespace, 2), place(kafka, namespace, 8)
    before["STREAMS_SESSION_TIMEOUT_SECONDS"] = "6"
    settings = Settings.from_env(before)

    # Given queues of all kinds under load, and workers that are killed
    with run_workers(1, kafka, tmp_path / "a", namespace, 28_700, before) as workers:
        async with patient_client(workers) as client:
            load, leased, acked = await queues_of_all_kinds(client)
            await load.until(len(load.confirmed) + 50)
            kill_all(workers)
            await load.stop()

    # When it is rescaled, and the command dies after each step
    assert "a multiple" in await until_workers_are_gone(settings, 3)
    for step in STEPS:
        with pytest.raises(Died):
            await asyncio.to_thread(rescaled, settings, 4, step)
        if step == "begin":
            with pytest.raises(StreamsError, match="--partitions 4"):
                await asyncio.to_thread(rescaled, settings, 8)
    done = await asyncio.to_thread(rescaled, settings, 4)
    assert (done.former, done.partitions, done.late) == (2, 4, 0)
    # And once more, with clients that write where groups were before
    load.confirmed += write_as_before(settings, 1_000_000)
    for answer in ("split 4 partitions into 8", "has 8 partitions already"):
        code, said = await asyncio.to_thread(streams, before, "rescale", "--partitions", "8")
        assert (code, answer in said) == (0, True), said

    load.confirmed += write_as_before(settings, 2_000_000)

    # Then workers with their old data folder go on
    with run_workers(1, kafka, tmp_path / "a", namespace, 28_700, after) as workers:
        async with patient_client(workers) as client:
            wanted = {body for _, body in load.confirmed}
            inboxes = {queue: await inbox_with(client, queue, load.confirmed) for queue in READERS}
            check_inboxes(inboxes, {READERS[0]: wanted - acked}, wanted)
            assert not acked & {d.body.decode() for d in inboxes[READERS[0]]}
            await check_new_messages(client, inboxes)
            resident = await client.queue("resident")
            assert (resident.session, resident.groups) == ("phone", 1)
            assert (await client.options("work"))["max_tries"] == 3
            jobs = await client.lease("work", limit=9, consumer="other")
            assert len(jobs) == 2
            assert leased.delivery.seq not in {job.delivery.seq for job in jobs}
            await client.ack("work", seqs=[leased.delivery.seq])
        target = Settings.from_env(after)
        found = await asyncio.to_thread(verified, target, workers.urls[0], tmp_path / "rebuilt")
        assert (found.count, found.differences) == (0, [])
        assert len(found.from_changelog) == 16
        with pytest.raises(StreamsError, match="running worker"):
            await asyncio.to_thread(rescaled, settings, 16)


def write_as_before(settings: Settings, number: int) -> list[tuple[str, str]]:
    """Publish to each room in its partition of two; return rooms and bodies."""
    producer = open_producer(settings.librdkafka(), {})
    written = [(room, f"{room} {number}") for room in ROOMS]
    for room, body in written:
        producer.produce(
            settings.group_events,
            encode(Message(body, room, "load", body=body.encode())),
            room.encode(),
            partition_of(room.encode(), 2),
        )
    assert producer.flush(LIMIT) == 0
    return written


async def inbox_with(client: Client, queue: str, written: list[tuple[str, str]]) -> list[Any]:
    """Return an inbox once it has the last messages: they may be on their way."""
    wanted = {body for _, body in written[-len(ROOMS) :]}
    async with asyncio.timeout(LIMIT):
        while True:
            inbox = await whole_inbox(client, queue)
            if wanted <= {delivery.body.decode() for delivery in inbox}:
                return inbox


def check_inboxes(
    inboxes: Mapping[str, list[Any]], some: Mapping[str, set[str]], wanted: set[str]
) -> None:
    """Check that what was confirmed is there, once, in the order of each room."""
    for queue, inbox in inboxes.items():
        bodies = [delivery.body.decode() for delivery in inbox]
        assert some.get(queue, wanted) <= set(bodies)
        assert len(bodies) == len(set(bodies))
        of_room = defaultdict(list)
        for body in bodies:
            of_room[body.split()[0]].append(int(body.split()[1]))
        assert all(numbers == sorted(numbers) for numbers in of_room.values())


async def check_new_messages(client: Client, inboxes: Mapping[str, list[Any]]) -> None:
    """Check that readers go on behind what they have, and get each new message once."""
    for room in [*ROOMS, *ROOMS]:  # the second time it is a repetition
        await client.publish(room, f"{room} after", sender="load", id=f"after-{room}")
    for queue in READERS:
        last = inboxes[queue][-1].seq
        async with asyncio.timeout(LIMIT):
            while len(new := await whole_inbox(client, queue, last)) < len(ROOMS):
                pass  # each look is a request
        assert sorted(d.body.decode() for d in new) == sorted(f"{room} after" for room in ROOMS)
        await client.ack(queue, upto=new[-1].seq)
        await emptied(client, queue)
    await client.bind("lobby", "newcomer")
    await client.publish("lobby", "welcome")
    assert [d.text for d in await some_inbox(client, "newcomer")] == ["welcome"]
