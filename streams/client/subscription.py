"""Subscriptions: one iteration over many queues, which outlives the connections below it.

The seq of a delivery is its position in the log, the same on every worker.  A new connection
therefore resumes after the last seq received, and a delivery with an earlier seq is dropped as
a duplicate, unless the worker marks it as redelivered.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from streams.client.errors import ClientClosed, ClientError, QueueDeleted, Refused, Unavailable
from streams.client.messages import Delivery, delivery
from streams.client.pending_acks import PendingAcks
from streams.client.requests import Backoff
from streams.client.worker_connection import WorkerConnection
from streams.kafka.partitioner import partition_of

if TYPE_CHECKING:
    from streams.client.client import Client

logger = logging.getLogger(__name__)

MAX_WAITING = 20_000
"""Deliveries of all queues together that may be buffered, whatever their `prefetch`."""
CLOSE_SECONDS = 5.0
"""How long closing waits for the confirmation of acks."""
_RETRYABLE = ("unavailable", "busy", "rate_limited")


class _QueueState:
    """Progress of one queue."""

    __slots__ = (
        "acks",
        "buffered",
        "confirmed",
        "connection",
        "last",
        "leaving",
        "name",
        "prefetch",
        "ref",
        "taken",
    )

    def __init__(self, name: str, after: int, prefetch: int) -> None:
        self.name = name
        self.last = after
        self.prefetch = prefetch
        self.buffered = 0
        """Deliveries received and not yet taken."""
        self.taken = 0
        """Deliveries taken since credit was last sent to the worker."""
        self.connection: WorkerConnection | None = None
        self.ref = ""
        """Identifies the latest subscribe frame of the queue on its connection."""
        self.confirmed = False
        """Whether the worker has confirmed that frame; messages before belong to an earlier one."""
        self.leaving = False
        """Whether it is being unsubscribed there, to move to another worker."""
        self.acks = PendingAcks()


class Subscription:
    """The deliveries of some queues: an async context manager and an async iterator.

    Made by `Client.subscribe`.  Only one task at a time may iterate.  Iteration ends when the
    subscription is closed, and raises `Refused` if a worker refuses a queue.  It raises
    `QueueDeleted` after the last delivery of a queue that was deleted; iterate again to go on with
    the other queues.  `add` subscribes to the queue again.
    """

    def __init__(
        self, client: Client, queues: Iterable[str], after: int, *, auto_ack: bool, prefetch: int
    ) -> None:
        if prefetch < 1:
            raise ValueError("prefetch must be at least 1")
        self.auto_ack = auto_ack
        self.on_close: Callable[[Subscription], None] = lambda subscription: None
        names = list(dict.fromkeys(queues))
        self._client = client
        self._after = after
        self._prefetch = prefetch
        self._queues = {name: self._new(name, len(names)) for name in names}
        self._unassigned: dict[str, None] = dict.fromkeys(names)
        self._connections: set[WorkerConnection] = set()
        self._ready: deque[Delivery] = deque()
        self._current: Delivery | None = None
        self._deleted: deque[QueueDeleted] = deque()
        self._arrived = asyncio.Event()
        self._refs = itertools.count()
        self._has_unassigned = asyncio.Event()
        self._has_unassigned.set()
        self._backoff = Backoff()
        self._failure: ClientError | None = None
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Subscription:
        self._start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._ack_current()
        await self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Delivery:
        self._start()
        self._ack_current()
        while not self._ready:
            if self._deleted:
                raise self._deleted.popleft()
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        taken = self._current = self._ready.popleft()
        self._give_credit(taken.queue)
        return taken

    # Public ---------------------------------------------------------------------------

    @property
    def queues(self) -> list[str]:
        """Ids of the queues that it is subscribed to."""
        return list(self._queues)

    def add(self, queue: str, *, after: int = 0) -> None:
        """Subscribe to another queue, from the delivery after the seq `after`."""
        if queue not in self._queues:
            self._queues[queue] = self._new(queue, len(self._queues) + 1, after)
            self._seek([queue])

    def remove(self, queue: str) -> None:
        """Unsubscribe from a queue; deliveries of it that were not taken are dropped."""
        found = self._queues.pop(queue, None)
        self._unassigned.pop(queue, None)
        if found is not None and found.connection is not None:
            found.connection.queues.discard(queue)
            found.connection.send("unsubscribe", queue=queue, ref="unsubscribe")
        self._ready = deque(one for one in self._ready if one.queue != queue)

    async def acknowledge(self, delivery: Delivery, *, cumulative: bool) -> None:
        """Acknowledge a delivery; returns once Kafka has the ack (see `Delivery.ack`).

        Raises:
            Refused: the worker refused the ack.
            Unavailable: not confirmed in time.
        """
        queue = self._queues.get(delivery.queue)
        if self._closed or queue is None:
            await self._client.acknowledge(delivery, cumulative=cumulative)
            return
        if self._current is delivery:
            self._current = None
        future = self._ack(queue, delivery.seq, cumulative=cumulative)
        try:
            async with asyncio.timeout(self._client.requests.retry_seconds):
                await asyncio.shield(future)
        except TimeoutError:
            raise Unavailable("the ack was not confirmed in time") from None

    async def close(self) -> None:
        """Close the subscription, after waiting a few seconds for acks to be confirmed."""
        if self._closed:
            return
        acks = [future for q in self._queues.values() for future in q.acks.futures()]
        if acks and self._failure is None:
            await asyncio.wait(acks, timeout=CLOSE_SECONDS)
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for connection in list(self._connections):
            await connection.close()
        closed = ClientClosed("the subscription was closed before the ack was confirmed")
        for queue in self._queues.values():
            queue.acks.fail_all(closed)
        self.on_close(self)

    # Called by connections ---------------------------------------------------------------

    def _received(self, connection: WorkerConnection, frame: dict[str, Any]) -> None:
        """Handle a frame from a worker."""
        queue = self._queues.get(frame.get("queue", ""))
        match frame["type"]:
            case "message" if (
                queue is not None and queue.connection is connection and queue.confirmed
            ):
                self._received_message(queue, frame)
            case "subscribed":
                self._backoff.reset()
                if queue is not None and frame.get("ref") == queue.ref:
                    queue.confirmed = True
            case "acked" if queue is not None:
                queue.acks.confirm(frame.get("upto"), frame.get("seqs", ()))
            case "moved" if queue is not None and queue.connection is connection:
                if self._client.follow_owners and frame["owner"] != connection.url:
                    queue.leaving = True
                    connection.send("unsubscribe", queue=queue.name, ref="unsubscribe")
            case "unsubscribed" if (
                queue is not None and queue.connection is connection and queue.leaving
            ):
                connection.queues.discard(queue.name)
                self._seek([queue.name])
            case "deleted" if (
                queue is not None and queue.connection is connection and queue.confirmed
            ):
                self._received_deleted(queue)
            case "error":
                self._received_error(connection, queue, frame)

    def _ended(self, connection: WorkerConnection, failure: Refused | None) -> None:
        """Handle the end of a connection."""
        self._connections.discard(connection)
        if self._closed:
            return
        if failure is not None:
            self._fail(failure)
            return
        self._client.requests.next_url(connection.url)
        self._seek_later(list(connection.queues), self._backoff.next())

    def _received_message(self, queue: _QueueState, frame: dict[str, Any]) -> None:
        """Buffer a message that is new, or that another consumer has returned to the queue."""
        seq = frame["seq"]
        again = seq <= queue.last
        if again and not frame.get("redelivered", False):
            return
        queue.buffered += 1
        if again and any(one.seq == seq and one.queue == queue.name for one in self._ready):
            self._give_credit(queue.name)  # it is in the buffer anyway
            return
        queue.last = max(queue.last, seq)
        self._ready.append(delivery(queue.name, frame, self))
        self._arrived.set()

    def _received_deleted(self, queue: _QueueState) -> None:
        """Unsubscribe from a queue that was deleted; the iteration says so after its deliveries."""
        del self._queues[queue.name]
        if queue.connection is not None:
            queue.connection.queues.discard(queue.name)
        error = QueueDeleted(
            f"queue {queue.name!r} was deleted with its bindings", queue=queue.name
        )
        queue.acks.fail_all(error)
        self._deleted.append(error)
        self._arrived.set()

    def _received_error(
        self, connection: WorkerConnection, queue: _QueueState | None, frame: dict[str, Any]
    ) -> None:
        code, message = frame["code"], frame["message"]
        again = code in _RETRYABLE
        pause = float(frame.get("retry_after", 1.0))
        upto, seqs = frame.get("upto"), frame.get("seqs", [])
        if queue is None:
            if frame.get("ref") is None:
                logger.warning("the worker at %s reported: %s", connection.url, message)
        elif upto is not None or seqs:
            if again:
                asyncio.get_running_loop().call_later(pause, self._ack_again, queue)
            else:
                queue.acks.fail(upto, seqs, Refused(code, message))
        elif frame.get("ref") in (queue.ref, None):  # None: permission for the queue was lost
            connection.queues.discard(queue.name)
            if again:
                self._seek_later([queue.name], self._backoff.next(pause))
            else:
                self._fail(Refused(code, f"queue {queue.name!r}: {message}"))

    # Internal ----------------------------------------------------------------------------

    def _new(self, name: str, count: int, after: int | None = None) -> _QueueState:
        prefetch = max(1, min(self._prefetch, MAX_WAITING // count))
        return _QueueState(name, self._after if after is None else after, prefetch)

    def _start(self) -> None:
        if self._task is None and not self._closed:
            _ = self._client.requests.session  # raises if the client is not open
            self._task = asyncio.get_running_loop().create_task(self._assign_queues())

    def _fail(self, error: ClientError) -> None:
        self._failure = error
        self._arrived.set()

    def _seek(self, queues: Iterable[str]) -> None:
        for name in queues:
            queue = self._queues.get(name)
            if queue is not None:
                queue.connection = None
                self._unassigned[name] = None
        self._has_unassigned.set()

    def _seek_later(self, queues: list[str], pause: float) -> None:
        for name in queues:
            queue = self._queues.get(name)
            if queue is not None:
                queue.connection = None
        asyncio.get_running_loop().call_later(pause, self._seek, queues)

    async def _assign_queues(self) -> None:
        """Give each queue without a connection one, as long as the subscription is open."""
        while True:
            await self._has_unassigned.wait()
            self._has_unassigned.clear()
            names, self._unassigned = list(self._unassigned), {}
            try:
                urls = await self._urls_of(names)
            except ClientError as error:
                self._fail(error)
                return
            for name, url in urls.items():
                queue = self._queues.get(name)
                if queue is not None and queue.connection is None:
                    self._subscribe(queue, self._connection(url))

    async def _urls_of(self, names: list[str]) -> dict[str, str]:
        """Return the URL of the worker to subscribe at, for each queue."""
        requests = self._client.requests
        owners: list[str | None] = []
        if self._client.follow_owners and names:
            try:
                cluster = await self._client.cluster()
            except Unavailable:
                cluster = {"partitions": []}
            rows = [row for row in cluster["partitions"] if row["table"] == "queues"]
            owners = [row["owner"] for row in sorted(rows, key=lambda row: row["partition"])]
        if not owners:
            return dict.fromkeys(names, requests.url)
        return {
            name: owners[partition_of(name.encode(), len(owners))] or requests.url for name in names
        }

    def _connection(self, url: str) -> WorkerConnection:
        for connection in self._connections:
            if connection.url == url and connection.has_room:
                return connection
        connection = WorkerConnection(self._client.requests, url, self._received, self._ended)
        self._connections.add(connection)
        return connection

    def _subscribe(self, queue: _QueueState, connection: WorkerConnection) -> None:
        queue.connection = connection
        queue.ref = f"subscribe {next(self._refs)}"
        queue.confirmed = queue.leaving = False
        connection.queues.add(queue.name)
        queue.taken = 0
        connection.send(
            "subscribe",
            queue=queue.name,
            after=queue.last,
            credit=max(0, queue.prefetch - queue.buffered),
            ref=queue.ref,
        )
        self._ack_again(queue)

    def _give_credit(self, name: str) -> None:
        queue = self._queues.get(name)
        if queue is None:
            return
        queue.buffered -= 1
        queue.taken += 1
        if queue.connection is not None and queue.taken * 2 >= queue.prefetch:
            queue.connection.send("credit", queue=name, more=queue.taken, ref="credit")
            queue.taken = 0

    # Acks -----------------------------------------------------------------------------------

    def _ack_current(self) -> None:
        current, self._current = self._current, None
        if current is not None and self.auto_ack and not self._closed:
            queue = self._queues.get(current.queue)
            if queue is not None:
                self._ack(queue, current.seq, cumulative=False)

    def _ack(self, queue: _QueueState, seq: int, *, cumulative: bool) -> asyncio.Future[None]:
        future = queue.acks.begin(seq, cumulative=cumulative)
        if queue.connection is not None:
            if cumulative:
                queue.connection.send("ack", queue=queue.name, upto=seq)
            else:
                queue.connection.ack(queue.name, [seq])
        return future

    def _ack_again(self, queue: _QueueState) -> None:
        """Send unconfirmed acks again."""
        if queue.connection is None or not queue.acks:
            return
        if queue.acks.upto:
            queue.connection.send("ack", queue=queue.name, upto=max(queue.acks.upto))
        if queue.acks.single:
            queue.connection.ack(queue.name, list(queue.acks.single))
