"""The restore drill: export under load, lose everything, import into more partitions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from namespaces import temporary
from two_workers import run_workers

from streams.client import Client
from streams.client.jobs import Job
from streams.errors import StreamsError
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.backup.container import BadExport
from streams.operate.backup.importing import import_
from streams.operate.backup.target import NotEmpty
from streams.operate.comparing import Comparison, verify_all
from streams.operate.processes import Workers
from streams.settings import Settings

LIMIT = 240.0
MAIN = "from streams.cli import main; main()"
ROOMS = [f"room-{number}" for number in range(6)]
READERS = [f"reader-{number}" for number in range(5)]


def streams(variables: Mapping[str, str], *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    """Run a command to its end; return exit code and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        env={**os.environ, **variables},
        input=stdin,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    said = done.stderr.decode()
    assert "Traceback" not in said, said
    return done.returncode, said


def verified(settings: Settings, url: str, folder: Path) -> Comparison:
    return asyncio.run(verify_all(settings, url, folder))


def place(kafka: EmbeddedKafka, namespace: str, partitions: int) -> dict[str, str]:
    return {
        "STREAMS_BROKERS": kafka.brokers,
        "STREAMS_NAMESPACE": namespace,
        "STREAMS_PARTITIONS": str(partitions),
        "STREAMS_CHECKPOINT_SECONDS": "1",
    }


class Load:
    """Publishes to the rooms, and binds and unbinds others, until it is stopped."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.confirmed: list[tuple[str, str]] = []
        """Room and body of each message, in order of their confirmation."""
        self._more = asyncio.Event()
        self._tasks = [asyncio.create_task(self._publish(room)) for room in ROOMS]
        self._tasks += [asyncio.create_task(self._churn(number)) for number in range(3)]

    async def _publish(self, room: str) -> None:
        number = 0
        while True:
            body = f"{room} {number}"
            await self._client.publish(room, body, sender="load")
            self.confirmed.append((room, body))
            self._more.set()
            number += 1

    async def _churn(self, number: int) -> None:
        while True:
            name = f"guest-{number}"
            await self._client.open_session(name, f"s-{number}", ["lobby"])
            await self._client.bind("hall", name)
            await self._client.unbind("hall", name)
            await self._client.close_session(name, f"s-{number}")

    async def until(self, count: int) -> None:
        """Wait until so many messages are confirmed."""
        async with asyncio.timeout(LIMIT):
            while len(self.confirmed) < count:
                self._more.clear()
                await self._more.wait()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def some_inbox(client: Client, queue: str, after: int = 0) -> list[Any]:
    """Return what is in an inbox, once there is something."""
    async with asyncio.timeout(LIMIT):
        while not (found := await whole_inbox(client, queue, after)):
            await client.inbox(queue, after=after, wait=10)
    return found


async def emptied(client: Client, queue: str) -> None:
    """Wait until nothing is in an inbox any more."""
    async with asyncio.timeout(LIMIT):
        while await whole_inbox(client, queue):
            pass  # each look is a request


async def one_job(client: Client, queue: str) -> Job:
    """Lease a job for an hour, once there is one."""
    async with asyncio.timeout(LIMIT):
        while not (jobs := await client.lease(queue, visibility=3600, consumer="builder", wait=30)):
            pass
    return jobs[0]


async def queues_of_all_kinds(client: Client) -> tuple[Load, Job, set[str]]:
    """Make readers, a session and jobs, under load.

    Returns:
        the load, which goes on; the job that is leased; the bodies that the first reader has acked.
    """
    for queue in READERS:
        for room in ROOMS:
            await client.bind(room, queue)
    await client.open_session("resident", "phone", [ROOMS[0]], ttl=3600)
    await client.configure("work", max_tries=3)
    for number in range(3):
        await client.send("work", f"job {number}")
    leased = await one_job(client, "work")
    load = Load(client)
    await load.until(200)
    first = await some_inbox(client, READERS[0])
    await client.ack(READERS[0], upto=first[-1].seq)
    return load, leased, {delivery.body.decode() for delivery in first}


async def whole_inbox(client: Client, queue: str, after: int = 0) -> list[Any]:
    found: list[Any] = []
    while page := await client.inbox(queue, after=found[-1].seq if found else after, limit=1000):
        found += page
    return found


@contextlib.asynccontextmanager
async def patient_client(workers: Workers) -> AsyncIterator[Client]:
    """A client that waits for the workers to get ready."""
    async with Client(*workers.urls, retry_seconds=LIMIT) as client:
        yield client


@pytest.fixture
def other_namespace(kafka: EmbeddedKafka, namespace: str) -> Iterator[str]:
    with temporary(kafka, f"{namespace}r") as name:
        yield name


async def test_what_was_confirmed_before_the_export_is_there_after_all_is_lost(
    kafka: EmbeddedKafka, namespace: str, other_namespace: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.avro"
    before, after = place(kafka, namespace, 4), place(kafka, other_namespace, 12)

    # Given queues of all kinds, under load
    with run_workers(1, kafka, tmp_path / "a", namespace, 28_300, before) as workers:
        async with patient_client(workers) as client:
            load, leased, acked = await queues_of_all_kinds(client)

            # When it is exported meanwhile
            surely = list(load.confirmed)
            code, said = await asyncio.to_thread(streams, before, "export", str(copy))
            assert code == 0, said
            await load.until(len(load.confirmed) + 100)
            await load.stop()
            places = {queue: (await some_inbox(client, queue))[-1].seq for queue in READERS}

    # And everything is lost, and imported into more partitions: a pipe, broken off at first
    target = Settings.from_env(after)
    content = copy.read_bytes()
    part = BytesIO(content[:-100])
    with pytest.raises(BadExport, match=r"damaged|cut off"):
        await asyncio.to_thread(import_, target, part)
    code, said = await asyncio.to_thread(streams, after, "import", "-", stdin=content)
    assert code == 0, said
    assert "broken off before" in said
    with pytest.raises(NotEmpty, match="imported into the namespace"):
        await asyncio.to_thread(import_, target, BytesIO(content))

    with run_workers(1, kafka, tmp_path / "b", other_namespace, 28_500, after) as workers:
        async with patient_client(workers) as client:
            for queue in READERS:
                inbox = await whole_inbox(client, queue)
                bodies = [delivery.body.decode() for delivery in inbox]
                # Then each message that was confirmed before the export is there, once, in order
                wanted = {body for _, body in surely} - (acked if queue == READERS[0] else set())
                assert wanted <= set(bodies)
                assert len(bodies) == len(set(bodies))
                for room in ROOMS:
                    of_room = [int(b.split()[1]) for b in bodies if b.split()[0] == room]
                    assert of_room == sorted(of_room)
            # And no acked message has come back
            bodies = [d.body.decode() for d in await whole_inbox(client, READERS[0])]
            assert not acked & set(bodies)

            # And readers go on where they were, although the copy is older
            await client.publish(ROOMS[0], "after the restore")
            for queue in READERS:
                (new,) = await some_inbox(client, queue, places[queue])
                assert new.body == b"after the restore"
                await client.ack(queue, upto=new.seq)
            for queue in READERS:
                await emptied(client, queue)

            # And sessions, options and leases are as they were
            resident = await client.queue("resident")
            assert (resident.session, resident.groups) == ("phone", 1)
            assert (await client.options("work"))["max_tries"] == 3
            jobs = await client.lease("work", limit=9, consumer="other")
            assert len(jobs) == 2
            assert leased.delivery.seq not in {job.delivery.seq for job in jobs}
            await client.ack("work", seqs=[leased.delivery.seq])

        # And the tables match their changelog and each other
        found = await asyncio.to_thread(verified, target, workers.urls[0], tmp_path / "rebuilt")
        assert (found.count, found.differences) == (0, [])
        assert len(found.from_changelog) == 24
        # And nothing can be imported into what is in use
        with pytest.raises(StreamsError, match="running worker"):
            await asyncio.to_thread(import_, target, BytesIO(content))
