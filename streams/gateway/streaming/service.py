"""All streams of one worker, and the services they share.

Knows the rest of the gateway; the protocol of a stream is in `connection`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from prometheus_client import Counter as CounterMetric
from prometheus_client import Gauge

from streams.errors import Unavailable
from streams.folds.tables import QUEUES
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.auth.principal import Principal
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.cluster.proxy import Proxy
from streams.gateway.http.errors import busy
from streams.gateway.metrics.registry import Metrics
from streams.gateway.ports import Engine, Partition
from streams.gateway.reads.lease_results import LeaseResults
from streams.gateway.reads.readers import Readers
from streams.gateway.reads.seqs import Seqs
from streams.gateway.streaming.connection import StreamConnection
from streams.gateway.streaming.leasing import Leasing
from streams.gateway.streaming.watching import Watching
from streams.gateway.writes.admission import Admission
from streams.gateway.writes.publishing import Publishing
from streams.kafka.partitioner import partition_of
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.gateway.http.context import RequestContext

logger = logging.getLogger(__name__)

PATH = "/v1/stream"
HEARTBEAT_SECONDS = 20.0
"""Silence after which a client is pinged; it has half as long to answer."""
FAREWELL_SECONDS = 2.0
"""How long a client may take to answer a close frame."""
IDLE_SECONDS = 300.0
"""How long a client may stay silent without a subscription."""
LOOK_SECONDS = 0.5
"""How often the owners of partitions are checked for changes."""


class Streaming:
    """The streams that clients have with this worker."""

    def __init__(
        self,
        engine: Engine,
        authenticator: Authenticator,
        publishing: Publishing,
        admission: Admission,
        router: PartitionRouter,
        proxy: Proxy,
        settings: Settings,
        metrics: Metrics,
        leases: LeaseResults,
        readers: Readers,
        seqs: Seqs,
    ) -> None:
        self.seqs = seqs
        self.watching = Watching(readers)
        self.leasing = Leasing(leases, publishing.publish, router.is_readable)
        self.upstreams = 0
        """Open streams to other workers, of all connections."""
        self.upstream_limit = 0
        self._stream_limit = 0
        self._counts: Counter[tuple[str, bool]] = Counter()
        self.settings = settings
        self.authenticator = authenticator
        self.publishing = publishing
        self.admission = admission
        self._engine = engine
        self._router = router
        self._proxy = proxy
        self._partitions = settings.partitions
        self._topic = settings.queue_events
        self._connections: set[StreamConnection] = set()
        self.on_reassigned: Callable[[], None] = lambda: None
        """Called when partitions have other owners, for subscriptions of other protocols."""
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        sent = CounterMetric(
            "streams_stream_messages",
            "Deliveries sent on streams: read here, or relayed from the worker that owns them.",
            ("how",),
            registry=metrics.registry,
        )
        self.sent_read, self.sent_relayed = sent.labels("read"), sent.labels("relayed")
        for name, text, value in (
            ("connections", "Clients that have a stream.", lambda: len(self._connections)),
            ("subscriptions", "Subscriptions served from this worker's partitions.",
             lambda: len(self.watching)),
            ("upstreams", "Streams to other workers.", lambda: self.upstreams),
        ):  # fmt: skip
            gauge = Gauge(f"streams_stream_{name}", text, registry=metrics.registry)
            gauge.set_function(value)

    # For the gateway --------------------------------------------------------------------

    def open(self, upstream_limit: int) -> None:
        """Start; at most `upstream_limit` streams to other workers may be open at once.

        One principal may have a quarter as many streams with clients, so that it does not take
        the connections of all others.
        """
        self.upstream_limit = upstream_limit
        self._stream_limit = max(1, upstream_limit // 4)
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def check_count(self, principal: Principal, *, forwarded: bool) -> None:
        """Check that a principal may have another stream.

        Raises:
            HTTPError: 429, it has too many.
        """
        if principal.name and self._counts[principal.name, forwarded] >= self._stream_limit:
            raise busy(
                f"a subject may have at most {self._stream_limit} streams on one worker; "
                "close some, or use another worker"
            )

    def check_tokens(self) -> None:
        """Close the streams whose tokens have been revoked."""
        for connection in list(self._connections):
            connection.check_token()

    async def close(self) -> None:
        """Close all streams: the worker is stopping."""
        self._closed = True
        self.leasing.close()
        if self._task is not None:
            self._task.cancel()
        await asyncio.gather(
            *(
                connection.close(aiohttp.WSCloseCode.GOING_AWAY, "this worker is stopping")
                for connection in list(self._connections)
            ),
            return_exceptions=True,
        )

    async def serve(
        self,
        context: RequestContext,
        socket: web.WebSocketResponse,
        *,
        batch: bool,
        forwarded: bool,
    ) -> None:
        """Serve a client whose WebSocket is open, until it closes.

        Args:
            batch: whether the client receives arrays of frames.
            forwarded: whether the client is another worker.

        Raises:
            Unavailable: this worker is stopping.
        """
        if self._closed:
            raise Unavailable("this worker is stopping")
        connection = StreamConnection(self, context, socket, batch=batch, forwarded=forwarded)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    # For connections --------------------------------------------------------------------

    def count(self, principal: Principal, *, forwarded: bool) -> None:
        """Count a stream of a principal; raises as `check_count`."""
        if principal.name:
            self.check_count(principal, forwarded=forwarded)
            self._counts[principal.name, forwarded] += 1

    def discount(self, principal: Principal, *, forwarded: bool) -> None:
        """Count one stream of a principal less."""
        key = principal.name, forwarded
        if key in self._counts:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def number(self, queue: str) -> int:
        """Return the partition that a queue belongs to."""
        return partition_of(queue.encode(), self._partitions)

    def partition(self, number: int) -> Partition | None:
        """Return the partition if this worker owns it, in whatever state it is."""
        return self._engine.partition(QUEUES, number)

    def answers(self, partition: Partition) -> bool:
        """Tell whether the partition's rows can be read now."""
        return self._router.is_readable(partition)

    def owner(self, number: int) -> str | None:
        """Return the base URL of the worker that owns a partition; None when unknown."""
        return self._engine.owner(QUEUES, number)

    def owners(self) -> set[str] | None:
        """Return the base URLs of the workers that own partitions; None if not all are known."""
        found = set(map(self.owner, range(self.settings.partitions)))
        return None if None in found else {str(owner) for owner in found}

    def unreadable(self, number: int) -> str:
        """Return why a partition cannot be read now, for the client."""
        owner = self._engine.owner(QUEUES, number)
        if owner is not None and not self._proxy.is_self(owner):
            return f"partition {number} of {QUEUES} cannot be read: {owner} does not answer"
        return self._engine.unreadable(QUEUES, number)

    def is_self(self, owner: str) -> bool:
        """Tell whether `owner` is the base URL of this worker."""
        return self._proxy.is_self(owner)

    @property
    def own_url(self) -> str:
        """Base URL of this worker."""
        return self._proxy.own_url

    def confirmed(self, number: int) -> int:
        """Return the highest offset in the partition that this worker has published."""
        return self.publishing.confirmed(self._topic, number)

    def may_open_upstream(self) -> bool:
        """Tell whether another stream to another worker may be opened."""
        return self.upstreams < self.upstream_limit

    async def connect(self, token: str, url: str) -> aiohttp.ClientWebSocketResponse:
        """Open a stream to the worker at `url`, with the client's token if it has one."""
        return await self._proxy.stream(token, url, PATH)

    # In the background ------------------------------------------------------------------

    async def _watch(self) -> None:
        owners: list[str | None] = []
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                before, owners = owners, [self.owner(n) for n in range(self._partitions)]
                if owners != before:
                    for connection in list(self._connections):
                        connection.reassigned()
                    self.on_reassigned()
                await self._close_idle()
            except Exception:
                logger.exception("checking the streams failed; trying again in %g s", LOOK_SECONDS)

    async def _close_idle(self) -> None:
        long_ago = time.monotonic() - IDLE_SECONDS
        idle = [c for c in self._connections if c.heard < long_ago and not c.subscriptions]
        await asyncio.gather(
            *(connection.close(aiohttp.WSCloseCode.OK, "idle") for connection in idle),
            return_exceptions=True,
        )
