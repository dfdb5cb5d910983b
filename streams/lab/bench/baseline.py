"""Feeds and measures the baseline, `streams.lab.bench.stock`, like the system itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from typing import Final

import orjson

from streams.errors import Unavailable
from streams.events.codec import encode
from streams.events.records import Message
from streams.kafka.partitioner import partition_of
from streams.lab.bench.harness import Drained, standstill
from streams.lab.bench.http_client import BenchConnection, ConnectionPool
from streams.lab.bench.producing import EncodedEvent, EventProducer, changes
from streams.lab.bench.progress import LOOK_SECONDS, PATIENCE_SECONDS, StatusClient
from streams.lab.bench.usage import Meter
from streams.operate.processes import WorkerProcess
from streams.settings import Settings

START_SECONDS: Final = 90.0


class StockApi:
    """The HTTP pages of the baseline, `streams.lab.bench.stock`."""

    def __init__(self, url: str, partitions: int) -> None:
        self._url = url
        self._partitions = partitions
        self._publishing = ConnectionPool(url)

    async def publish(self, name: str, group: str, body: bytes) -> None:
        """Publish; returns once Kafka has it."""
        message = Message(name, group, "bench", body=body)
        await self._publishing.ask("POST", f"/publish/{group}/", encode(message))

    async def connect(self, queue: str) -> BenchConnection:
        """Connect to the worker."""
        return await BenchConnection.open(self._url)

    async def read(
        self, connection: BenchConnection, queue: str, after: int
    ) -> Sequence[tuple[int, str]]:
        """Wait at the queue."""
        partition = partition_of(queue.encode(), self._partitions)
        answer = orjson.loads(await connection.ask("GET", f"/inbox/{queue}/{partition}/{after}/"))
        return [(message["seq"], message["id"]) for message in answer["messages"]]

    async def ack(self, connection: BenchConnection, queue: str, upto: int) -> None:
        """Do nothing: the baseline has no acks."""

    def close(self) -> None:
        """Close the publishers' connections."""
        self._publishing.close()


class StockSystem:
    """One worker of the baseline, which counts what its agents have processed."""

    def __init__(self, settings: Settings, worker: WorkerProcess, meter: Meter) -> None:
        self.settings = settings
        self.worker = worker
        self._meter = meter
        self._feeder = EventProducer(settings)
        self._asker = StatusClient(worker.url)
        self._routed = 0
        self._delivered = 0

    def warm_up(self) -> None:
        """Wait until events are processed, which takes a while after the start."""
        self._until(0, 0, START_SECONDS)
        pairs = [(f"warm{n}", f"warm{n}") for n in range(500)]
        self.feed(changes("Bind", pairs), len(pairs))
        self.feed(changes("Unbind", pairs), len(pairs))

    def feed(self, events: Iterable[EncodedEvent], entries: int) -> None:
        """Send group events that result in `entries` queue records; wait for all."""
        self._routed += self._feeder.feed(self.settings.group_events, events)
        self._delivered += entries
        self._until(self._routed, self._delivered)

    def drain(self, events: Iterable[EncodedEvent], entries: int) -> Drained:
        """Measure how long events take that were sent while the worker was suspended."""
        with standstill([self.worker]):
            count = self._feeder.feed(self.settings.group_events, events)
            self._routed += count
            self._delivered += entries
            self._meter.start()
            began = time.monotonic()
        self._until(self._routed, self._delivered)
        seconds = time.monotonic() - began
        usage = self._meter.read()
        return Drained(count, seconds, usage, usage)

    def stop(self) -> None:
        """Stop the worker, and wait until it has exited."""
        assert self.worker.process is not None
        self.worker.process.terminate()
        self.worker.process.wait(60)
        self._asker.close()

    def start(self) -> tuple[float, float]:
        """Start the worker again, and wait until its tables are recovered.

        Returns:
            Seconds from the start of the process, and from its first answer.
        """
        began = time.monotonic()
        self.worker.start()
        self._until(0, 0, START_SECONDS)
        alive = time.monotonic()
        while not self._asker.get("/recovered/"):
            if time.monotonic() > alive + START_SECONDS:
                raise Unavailable(f"the baseline does not recover; see {self.worker.log}")
            time.sleep(LOOK_SECONDS)
        ready = time.monotonic()
        return ready - began, ready - alive

    def _until(self, routed: int, delivered: int, patience: float = PATIENCE_SECONDS) -> None:
        latest: tuple[int, int] | None = None
        deadline = time.monotonic() + patience
        while True:
            try:
                seen = self._asker.get("/seen/")
            except (OSError, HTTPException, Unavailable):
                seen = None
            if seen is not None:
                now = seen.get("route", 0), seen.get("deliver", 0)
                if now >= (routed, delivered) and now[1] >= delivered:
                    return
                if now != latest:
                    latest, deadline = now, time.monotonic() + patience
            if time.monotonic() > deadline or self.worker.exit_code() is not None:
                raise Unavailable(f"the baseline makes no progress; see {self.worker.log}")
            time.sleep(LOOK_SECONDS)
