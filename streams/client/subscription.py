"""Iterating over many queues: links are made, lost and made again below; the iteration goes on.

The seq of a delivery is a place in the log, the same whoever serves the queue: a new link
begins after the last seq that came, and what comes twice is dropped by it, unless the worker
says that somebody has given it back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from streams.client.acking import Acking
from streams.client.errors import ClientClosed, ClientError, Refused, Unavailable
from streams.client.link import Link
from streams.client.messages import Delivery, delivery
from streams.client.requests import Pauses
from streams.kafka.partitioner import partition_of

if TYPE_CHECKING:
    from streams.client.client import Client

logger = logging.getLogger(__name__)

MAX_WAITING = 20_000
"""Deliveries of all queues that may wait to be taken, whatever the prefetch of each."""
CLOSE_SECONDS = 5.0
"""How long acks may take to be confirmed when the subscription is closed."""
_RETRY = ("unavailable", "busy")


class _Queue:
    """How far one queue has come."""

    __slots__ = (
        "acking",
        "begun",
        "last",
        "leaving",
        "link",
        "name",
        "prefetch",
        "ref",
        "taken",
        "waiting",
    )

    def __init__(self, name: str, after: int, prefetch: int) -> None:
        self.name = name
        self.last = after
        self.prefetch = prefetch
        self.waiting = 0
        """Deliveries that came and were not taken."""
        self.taken = 0
        """Deliveries taken since the worker was last given credit."""
        self.link: Link | None = None
        self.ref = ""
        """Names the subscription at the link: there may have been one before of this queue."""
        self.begun = False
        """Whether the worker has answered to it; what comes before that is another's."""
        self.leaving = False
        """Whether it is to end there, so as to be made elsewhere."""
        self.acking = Acking()


class Subscription:
    """The deliveries of some queues: an async context manager and an async iterator.

    One task at a time may iterate.  Made by `Client.subscribe`.
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
        self._homeless: dict[str, None] = dict.fromkeys(names)
        self._links: set[Link] = set()
        self._ready: deque[Delivery] = deque()
        self._current: Delivery | None = None
        self._arrived = asyncio.Event()
        self._refs = itertools.count()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._pauses = Pauses()
        self._failure: ClientError | None = None
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Subscription:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._ack_current()
        await self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Delivery:
        self._start()
        self._ack_current()
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        taken = self._current = self._ready.popleft()
        self._give_credit(taken.queue)
        return taken

    # For its user -----------------------------------------------------------------------

    @property
    def queues(self) -> list[str]:
        """The queues that it is subscribed to."""
        return list(self._queues)

    def add(self, queue: str, *, after: int = 0) -> None:
        """Subscribe to one queue more."""
        if queue not in self._queues:
            self._queues[queue] = self._new(queue, len(self._queues) + 1, after)
            self._seek([queue])

    def remove(self, queue: str) -> None:
        """Subscribe to one queue less; what has come of it and was not taken is dropped."""
        found = self._queues.pop(queue, None)
        self._homeless.pop(queue, None)
        if found is not None and found.link is not None:
            found.link.queues.discard(queue)
            found.link.send("unsubscribe", queue=queue, ref="unsubscribe")
        self._ready = deque(one for one in self._ready if one.queue != queue)

    async def acknowledge(self, delivery: Delivery, *, cumulative: bool) -> None:
        """Be done with a delivery; returns once Kafka has that.

        Raises:
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
        """End it; acks that are on their way are waited for, but not for long."""
        if self._closed:
            return
        acks = [future for q in self._queues.values() for future in q.acking.futures()]
        if acks and self._failure is None:
            await asyncio.wait(acks, timeout=CLOSE_SECONDS)
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for link in list(self._links):
            await link.close()
        closed = ClientClosed("the subscription was closed before the ack was confirmed")
        for queue in self._queues.values():
            queue.acking.fail(None, list(queue.acking.single), closed)
            for upto in list(queue.acking.upto):
                queue.acking.fail(upto, (), closed)
        self.on_close(self)

    # Called by links ----------------------------------------------------------------------

    def received(self, link: Link, frame: dict[str, Any]) -> None:
        """Take a frame (for links)."""
        queue = self._queues.get(frame.get("queue", ""))
        match frame["type"]:
            case "message" if queue is not None and queue.link is link and queue.begun:
                self._received_message(queue, frame)
            case "subscribed":
                self._pauses.reset()
                if queue is not None and frame.get("ref") == queue.ref:
                    queue.begun = True
            case "acked" if queue is not None:
                queue.acking.confirm(frame.get("upto"), frame.get("seqs", ()))
            case "moved" if queue is not None and queue.link is link:
                if self._client.follow_owners and frame["owner"] != link.url:
                    queue.leaving = True
                    link.send("unsubscribe", queue=queue.name, ref="unsubscribe")
            case "unsubscribed" if queue is not None and queue.link is link and queue.leaving:
                link.queues.discard(queue.name)
                self._seek([queue.name])
            case "error":
                self._received_error(link, queue, frame)

    def ended(self, link: Link, failure: Refused | None) -> None:
        """Note that a link is gone (for links)."""
        self._links.discard(link)
        if self._closed:
            return
        if failure is not None:
            self._fail(failure)
            return
        self._client.requests.next_url(link.url)
        self._seek_later(list(link.queues), self._pauses.next())

    def _received_message(self, queue: _Queue, frame: dict[str, Any]) -> None:
        """Take a message that is new, or that another consumer has given back meanwhile."""
        seq = frame["seq"]
        again = seq <= queue.last
        if again and not frame.get("redelivered", False):
            return
        queue.waiting += 1
        if again and any(one.seq == seq and one.queue == queue.name for one in self._ready):
            self._give_credit(queue.name)  # it waits to be taken anyway
            return
        queue.last = max(queue.last, seq)
        self._ready.append(delivery(queue.name, frame, self))
        self._arrived.set()

    def _received_error(self, link: Link, queue: _Queue | None, frame: dict[str, Any]) -> None:
        code, message = frame["code"], frame["message"]
        again = code in _RETRY
        pause = float(frame.get("retry_after", 1.0))
        upto, seqs = frame.get("upto"), frame.get("seqs", [])
        if queue is None:
            if frame.get("ref") is None:
                logger.warning("the worker at %s: %s", link.url, message)
        elif upto is not None or seqs:
            if again:
                asyncio.get_running_loop().call_later(pause, self._ack_again, queue)
            else:
                queue.acking.fail(upto, seqs, Refused(code, message))
        elif frame.get("ref") in (queue.ref, None):  # None: the queue is no longer allowed
            link.queues.discard(queue.name)
            if again:
                self._seek_later([queue.name], self._pauses.next(pause))
            else:
                self._fail(Refused(code, f"queue {queue.name!r}: {message}"))

    # On its own ---------------------------------------------------------------------------

    def _new(self, name: str, count: int, after: int | None = None) -> _Queue:
        prefetch = max(1, min(self._prefetch, MAX_WAITING // count))
        return _Queue(name, self._after if after is None else after, prefetch)

    def _start(self) -> None:
        if self._task is None and not self._closed:
            _ = self._client.requests.session  # raises when the client is not open
            self._task = asyncio.get_running_loop().create_task(self._find_homes())

    def _fail(self, error: ClientError) -> None:
        self._failure = error
        self._arrived.set()

    def _seek(self, queues: Iterable[str]) -> None:
        for name in queues:
            queue = self._queues.get(name)
            if queue is not None:
                queue.link = None
                self._homeless[name] = None
        self._wanted.set()

    def _seek_later(self, queues: list[str], pause: float) -> None:
        for name in queues:
            queue = self._queues.get(name)
            if queue is not None:
                queue.link = None
        asyncio.get_running_loop().call_later(pause, self._seek, queues)

    async def _find_homes(self) -> None:
        """Find a link for each queue that has none, for as long as the subscription lives."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            names, self._homeless = list(self._homeless), {}
            try:
                places = await self._places(names)
            except ClientError as error:
                self._fail(error)
                return
            for name, url in places.items():
                queue = self._queues.get(name)
                if queue is not None and queue.link is None:
                    self._subscribe(queue, self._link(url))

    async def _places(self, names: list[str]) -> dict[str, str]:
        """Return the URL of the worker to ask for each queue."""
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

    def _link(self, url: str) -> Link:
        for link in self._links:
            if link.url == url and link.has_room:
                return link
        link = Link(self._client.requests, url, self)
        self._links.add(link)
        return link

    def _subscribe(self, queue: _Queue, link: Link) -> None:
        queue.link = link
        queue.ref = f"subscribe {next(self._refs)}"
        queue.begun = queue.leaving = False
        link.queues.add(queue.name)
        queue.taken = 0
        link.send(
            "subscribe",
            queue=queue.name,
            after=queue.last,
            credit=max(0, queue.prefetch - queue.waiting),
            ref=queue.ref,
        )
        self._ack_again(queue)

    def _give_credit(self, name: str) -> None:
        queue = self._queues.get(name)
        if queue is None:
            return
        queue.waiting -= 1
        queue.taken += 1
        if queue.link is not None and queue.taken * 2 >= queue.prefetch:
            queue.link.send("credit", queue=name, more=queue.taken, ref="credit")
            queue.taken = 0

    # Acks -----------------------------------------------------------------------------------

    def _ack_current(self) -> None:
        current, self._current = self._current, None
        if current is not None and self.auto_ack and not self._closed:
            queue = self._queues.get(current.queue)
            if queue is not None:
                self._ack(queue, current.seq, cumulative=False)

    def _ack(self, queue: _Queue, seq: int, *, cumulative: bool) -> asyncio.Future[None]:
        future = queue.acking.begin(seq, cumulative=cumulative)
        if queue.link is not None:
            if cumulative:
                queue.link.send("ack", queue=queue.name, upto=seq)
            else:
                queue.link.ack(queue.name, [seq])
        return future

    def _ack_again(self, queue: _Queue) -> None:
        """Send again what is not confirmed."""
        if queue.link is None or not queue.acking:
            return
        if queue.acking.upto:
            queue.link.send("ack", queue=queue.name, upto=max(queue.acking.upto))
        if queue.acking.single:
            queue.link.ack(queue.name, list(queue.acking.single))
