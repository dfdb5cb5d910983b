"""Measures latency from publishers to readers over HTTP.

`LatencyProbe` keeps the times.  It talks to the system through `GatewayApi`, and to the baseline
through an API of the baseline's.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

import orjson

from streams.errors import StreamsError
from streams.folds.tables import QUEUES
from streams.kafka.partitioner import partition_of
from streams.lab.bench.figures import Measurement, latencies
from streams.lab.bench.http_client import BenchConnection, ConnectionPool

WAIT_SECONDS: Final = 25
LIMIT: Final = 500
ARRIVE_SECONDS: Final = 20.0
"""How long the last messages may take to arrive."""
OPEN_AT_ONCE: Final = 50
BODY: Final = b"x" * 128


class MessagingApi(Protocol):
    """An interface to publish, read and ack."""

    async def publish(self, name: str, group: str, body: bytes) -> None:
        """Publish a message with the id `name`; return once Kafka has confirmed it."""
        ...

    async def connect(self, queue: str) -> BenchConnection:
        """Open the connection of a queue's reader."""
        ...

    async def read(
        self, connection: BenchConnection, queue: str, after: int
    ) -> Sequence[tuple[int, str]]:
        """Return (seq, message id) of the messages after a seq; may wait, may be empty."""
        ...

    async def ack(self, connection: BenchConnection, queue: str, upto: int) -> None:
        """Ack all up to a seq; return once Kafka has confirmed it."""
        ...

    def close(self) -> None:
        """Close the connections of publishers."""
        ...


class GatewayApi:
    """The system's HTTP API; each reader connects to the owner of its queue."""

    def __init__(self, owners: Mapping[tuple[str, int], str], partitions: int) -> None:
        self._owners = owners
        self._partitions = partitions
        self._publishing = ConnectionPool(next(iter(owners.values())))

    async def publish(self, name: str, group: str, body: bytes) -> None:
        """Publish through any worker."""
        content = {"id": name, "sender": "bench", "body": body.decode()}
        path = f"/v1/groups/{quote(group, safe='')}/messages"
        await self._publishing.ask("POST", path, orjson.dumps(content))

    async def connect(self, queue: str) -> BenchConnection:
        """Connect to the owner of the queue."""
        partition = partition_of(queue.encode(), self._partitions)
        return await BenchConnection.open(self._owners[QUEUES, partition])

    async def read(
        self, connection: BenchConnection, queue: str, after: int
    ) -> Sequence[tuple[int, str]]:
        """Wait at the queue for up to `WAIT_SECONDS`."""
        path = f"/v1/queues/{queue}/messages?after={after}&limit={LIMIT}&wait={WAIT_SECONDS}"
        answer = orjson.loads(await connection.ask("GET", path))
        return [(message["seq"], message["id"]) for message in answer["messages"]]

    async def ack(self, connection: BenchConnection, queue: str, upto: int) -> None:
        """Ack over the reader's own connection."""
        await connection.ask("POST", f"/v1/queues/{queue}/acks", b'{"upto":%d}' % upto)

    def close(self) -> None:
        """Close the publishers' connections."""
        self._publishing.close()


class Arrival(NamedTuple):
    """One message at one reader."""

    message: str
    queue: str
    at: float


class LatencyProbe:
    """Publishes, reads and keeps the times; an async context manager that stops its readers."""

    def __init__(self, way: MessagingApi) -> None:
        self._way = way
        self.sent: dict[str, float] = {}
        self.confirmed: dict[str, float] = {}
        self.arrivals: list[Arrival] = []
        self._readers: list[asyncio.Task[None]] = []
        self._publishing: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def __aenter__(self) -> LatencyProbe:
        """Return itself."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop all readers."""
        tasks = [*self._readers, *self._publishing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._way.close()

    async def listen(self, queues: Iterable[str]) -> None:
        """Start a reader for each queue; return when all are connected."""
        waiting = list(queues)
        for start in range(0, len(waiting), OPEN_AT_ONCE):
            some = waiting[start : start + OPEN_AT_ONCE]
            for queue, connection in zip(
                some, await asyncio.gather(*map(self._way.connect, some)), strict=True
            ):
                self._readers.append(asyncio.create_task(self._read(queue, connection)))

    def publish(self, name: str, group: str, body: bytes) -> None:
        """Publish a message; do not wait for its confirmation."""
        task = asyncio.create_task(self._publish(name, group, body))
        self._publishing.add(task)
        task.add_done_callback(self._published)

    async def arrived(self, expected: Callable[[], bool]) -> None:
        """Wait until everything is confirmed and `expected` holds.

        Raises:
            StreamsError: that took longer than `ARRIVE_SECONDS`.
        """
        deadline = time.monotonic() + ARRIVE_SECONDS
        while self._publishing or not expected():
            self.check()
            if time.monotonic() > deadline:
                raise StreamsError(f"some messages did not arrive within {ARRIVE_SECONDS:g} s")
            await asyncio.sleep(0.02)

    def check(self) -> None:
        """Raise the error of a failed reader or publisher."""
        for task in self._readers:
            if task.done():
                task.result()
        if self._failure is not None:
            raise self._failure

    def samples(
        self,
        since: float = 0.0,
        until: float = math.inf,
        prefix: str = "",
        which: Callable[[str], bool] = lambda message: True,
    ) -> list[Measurement]:
        """Return latency percentiles of messages sent in a time span, filtered by id."""
        counted = {n: at for n, at in self.sent.items() if since <= at < until and which(n)}
        confirmed = (self.confirmed[n] - at for n, at in counted.items() if n in self.confirmed)
        arrived = (a.at - counted[a.message] for a in self.arrivals if a.message in counted)
        return [
            *latencies(f"{prefix}publish to reader", arrived),
            *latencies(f"{prefix}publish to confirmation", confirmed),
        ]

    async def _publish(self, name: str, group: str, body: bytes) -> None:
        self.sent[name] = time.monotonic()
        await self._way.publish(name, group, body)
        self.confirmed[name] = time.monotonic()

    def _published(self, task: asyncio.Task[None]) -> None:
        self._publishing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()

    async def _read(self, queue: str, connection: BenchConnection) -> None:
        after = 0
        try:
            while True:
                found = await self._way.read(connection, queue, after)
                now = time.monotonic()
                for seq, message in found:
                    self.arrivals.append(Arrival(message, queue, now))
                    after = max(after, seq)
                if found:
                    await self._way.ack(connection, queue, after)
        finally:
            connection.close()


class PacedPublisher:
    """Publishes to groups in turn, at a constant rate, until stopped."""

    def __init__(
        self, talk: LatencyProbe, groups: Sequence[str], rate: float, body: bytes = BODY
    ) -> None:
        self._talk = talk
        self._groups = groups
        self._rate = rate
        self._body = body
        self._tag = f"{time.time_ns():x}-"
        self._group_of: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._publish())

    async def stop(self) -> None:
        """Stop, and wait until every message has arrived; raises like `arrived`."""
        assert self._task is not None
        if self._task.done():
            self._task.result()
        self._task.cancel()
        await asyncio.wait([self._task])
        sent = self._group_of.keys()
        await self._talk.arrived(lambda: sent <= {a.message for a in self._talk.arrivals})

    def to(self, which: Callable[[str], bool]) -> Callable[[str], bool]:
        """Return a filter of message ids by their groups."""
        return lambda message: message in self._group_of and which(self._group_of[message])

    async def _publish(self) -> None:
        began = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / self._rate - time.monotonic()))
            name, group = f"{self._tag}{number}", self._groups[number % len(self._groups)]
            self._group_of[name] = group
            self._talk.publish(name, group, self._body)
            self._talk.check()
