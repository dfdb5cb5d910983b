"""The gateway as a service of the worker: listens, finds the route of a request, answers.

What a path does is in `routes`; what several of them need is a part of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiohttp import web
from mode import Service
from yarl import URL

from streams.errors import SettingsError, StreamsError
from streams.folds.counts import CountsByPartition
from streams.gateway.auth.access import check_access
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.auth.principal import ANONYMOUS, UNRESTRICTED
from streams.gateway.cluster.overview import Overview
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.cluster.proxy import WRITE_SECONDS, Proxy
from streams.gateway.http.connection import (
    COMMON_HEADERS,
    KEEP_ALIVE_SECONDS,
    LINGER_SECONDS,
    MAX_HEAD_LINE,
    Server,
    connection_limit,
    listen,
)
from streams.gateway.http.context import Handler, Parts, RequestContext
from streams.gateway.http.errors import HTTPError, to_http_error
from streams.gateway.http.paths import Route, Router, split_target
from streams.gateway.http.responses import error_response
from streams.gateway.metrics.collectors import EngineCollector, FoldCollector, InboxCollector
from streams.gateway.metrics.inbox_sampler import InboxSampler
from streams.gateway.metrics.loop_lag import watch_loop
from streams.gateway.metrics.registry import Metrics
from streams.gateway.ports import Checkpoint, Engine, Partition
from streams.gateway.reads.activity import Activity
from streams.gateway.reads.barrier import Barrier
from streams.gateway.reads.history import History
from streams.gateway.reads.lease_results import LeaseResults
from streams.gateway.reads.long_polls import LongPolls
from streams.gateway.reads.row_counter import RowCounter
from streams.gateway.routes import ROUTES
from streams.gateway.streaming.service import Streaming
from streams.gateway.writes.admission import Admission
from streams.gateway.writes.publishing import Publishing
from streams.settings import Settings, is_loopback

logger = logging.getLogger(__name__)

PUBLISH_BUDGET_BYTES = 64 * 1024 * 1024
STOP_SECONDS = 5.0
"""How long requests in hand may take to end when the worker stops."""
SHORT_BYTES = 16 * 1024
"""An answer up to this length has a place in the connection's buffer."""

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Gateway(Service):
    """Answers HTTP on one worker for the whole cluster.

    Start it before the tables recover: publishing needs none of them, and a read is told
    to come again (503).  The address is read from Faust's configuration when the service
    starts, so that `faust worker --web-port` counts.

    Of the Faust `app` it needs `conf`, `engine` (see `ports`) and `settings`; `counts` is
    what the folds of its tables count.
    """

    def __init__(self, app: Any, counts: CountsByPartition, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        engine: Engine = app.engine
        settings: Settings = app.settings
        waits = LongPolls()
        self._inboxes = InboxSampler(engine.open_partitions, counts)
        metrics = Metrics(waits)
        for collector in (
            EngineCollector(engine),
            FoldCollector(counts),
            InboxCollector(self._inboxes),
        ):
            metrics.registry.register(collector)
        self.metrics = metrics
        self._forwarding = Proxy(lambda: str(app.conf.canonical_url), metrics, settings)
        self._guard = Authenticator(settings)
        publishing = Publishing(engine, metrics)
        owners = PartitionRouter(engine, publishing, self._forwarding, settings)
        leases = LeaseResults()
        self._parts = Parts(
            settings=settings,
            engine=engine,
            guard=self._guard,
            admission=Admission(PUBLISH_BUDGET_BYTES),
            publishing=publishing,
            owners=owners,
            waits=waits,
            counting=RowCounter(),
            history=History(settings),
            leases=leases,
            chunk_ends=Barrier(),
            metrics=metrics,
            streaming=Streaming(
                engine, publishing, owners, self._forwarding, settings, metrics, leases
            ),
            overview=Overview(engine, self._forwarding, Activity(counts, self._inboxes, metrics)),
        )
        self._guard.revocations.on_change = self._revoked
        self._router: Router[Handler] = Router(ROUTES)
        self._runner: web.ServerRunner | None = None
        self._listener: asyncio.Server | None = None

    # For the worker -----------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether anybody waits for a delivery, so that it is worth collecting them."""
        return bool(self._parts.waits) or bool(self._parts.streaming.watching)

    def on_delivered(self, queues: set[bytes] | None) -> None:
        """Wake who waits for these queues; call it once the rows of a chunk can be read.

        None means that nobody collected them: everybody looks again.
        """
        self._parts.waits.wake(queues)
        self._parts.streaming.watching.wake(queues)

    def on_released(self, deliveries: list[tuple[bytes, int]]) -> None:
        """Send again what streams were sent before; call it before `on_delivered`."""
        self._parts.streaming.watching.again(deliveries)

    def on_leased(self, partition: Partition, results: dict[int, list[int]]) -> None:
        """Take the seqs that the Leases of a chunk got, by their offsets."""
        self._parts.leases.note(partition.number, results)

    def on_chunk_end(self, partition: Partition) -> None:
        """Note that the partition's rows are those of its position at this moment."""
        self._parts.chunk_ends.reached(partition)

    def on_lost(self, partition: Partition) -> None:
        """End what waits for a partition that does not answer reads any more."""
        self._parts.waits.end_lost(partition)
        self._parts.streaming.watching.lost(partition)
        self._parts.chunk_ends.lost(partition)

    def on_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Note how long a checkpoint took and how many rows it wrote."""
        table = checkpoint.name.partition("/")[0]
        self.metrics.checkpoint_seconds.labels(table).observe(checkpoint.seconds)
        self.metrics.checkpoint_rows.labels(table).inc(checkpoint.rows)

    def _revoked(self) -> None:
        """End what is under way with tokens that have been taken back."""
        self._parts.streaming.check_tokens()
        self._parts.waits.wake(None)

    @Service.task
    async def _sample_inboxes(self) -> None:
        await self._inboxes.run()

    @Service.task
    async def _watch_loop(self) -> None:
        await watch_loop(self.metrics.loop_lag_seconds.observe)

    async def on_start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be had, is public without authentication, or
                keys or certificates cannot be used.
        """
        conf, settings = self.app.conf, self._parts.settings
        settings.check_public(conf.web_bind)
        tls = settings.http_server_tls()
        if tls is not None and URL(str(conf.canonical_url)).scheme != "https":
            raise SettingsError(
                "with TLS, set STREAMS_HTTP_HOST and STREAMS_HTTP_PORT, or an https:// "
                "STREAMS_HTTP_ADVERTISED_URL, not --web-host and --web-port"
            )
        await self._guard.open()
        await self._forwarding.open()
        self._parts.streaming.open(connection_limit())
        server = Server(
            self._handle,
            # A client that goes away ends its request: nobody waits for nobody.
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            max_line_size=MAX_HEAD_LINE,
            max_field_size=MAX_HEAD_LINE,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
            access_log=None,
        )
        server.limit = connection_limit()
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        try:
            self._listener = await listen(server, conf.web_bind, conf.web_port, tls)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {conf.web_bind}:{conf.web_port}: {error.strerror or error}; "
                "choose another STREAMS_HTTP_HOST or STREAMS_HTTP_PORT"
            ) from error
        logger.info("HTTP gateway listens on %s:%s", conf.web_bind, conf.web_port)
        if tls is None and not is_loopback(conf.web_bind):
            logger.warning("no TLS: tokens are in the clear unless a proxy before this one has it")

    async def on_stop(self) -> None:
        """End what waits, let the rest finish, and close."""
        self._parts.waits.close()
        await self._parts.streaming.close()
        await self._parts.history.close()
        # Before the server: requests that wait for another worker would keep it.
        await self._forwarding.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._guard.close()

    # Requests -----------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        template, status = "unknown", "gone"
        try:
            template, answer = await self._answer(request)
            for name, value in COMMON_HEADERS.items():
                answer.headers.setdefault(name, value)
            if _is_short(answer):
                await answer.prepare(request)
                await answer.write_eof()
            else:
                await _write(request, answer)
            status = str(answer.status)
            return answer
        finally:
            method = request.method if request.method in _METHODS else "other"
            self._parts.metrics.answered(method, template, status, time.perf_counter() - began)

    async def _answer(self, request: web.BaseRequest) -> tuple[str, web.StreamResponse]:
        """Return the template of the route, for the metrics, and the answer."""
        template, principal = "unknown", ANONYMOUS
        try:
            raw_path, raw_query = split_target(request.raw_path)
            if raw_path == "*" and request.method == "OPTIONS":
                return template, web.Response(status=204)
            route, segments = self._router.find(raw_path)
            template = route.template
            if request.method == "OPTIONS":
                return template, web.Response(status=204, headers={"Allow": route.allow})
            method, handler = _handler(route, request.method)
            principal = await self._guard.authenticate(request, method, template)
            context = RequestContext(request, raw_path, raw_query, segments, self._parts, principal)
            if principal is not UNRESTRICTED:
                check_access(context, method, template)
            return template, await handler(context)
        except StreamsError as error:
            refusal = to_http_error(error)
            if refusal.status == 500:
                logger.exception("%s %s failed", request.method, template)
            elif refusal.status in (401, 403) or refusal.code == "rate_limited":
                self._guard.note(refusal, request, template, principal)
            return template, error_response(refusal)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, template)
            return template, error_response(HTTPError(500, "internal", "internal error"))


def _is_short(answer: web.StreamResponse) -> bool:
    """Tell whether all of an answer is there, and so little that it is written at once."""
    return (
        isinstance(answer, web.Response)
        and isinstance(answer.body, bytes | None)
        and len(answer.body or b"") < SHORT_BYTES
    )


async def _write(request: web.BaseRequest, answer: web.StreamResponse) -> None:
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await answer.prepare(request)
            await answer.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("a client does not take its answer") from None


def _handler(route: Route[Handler], method: str) -> tuple[str, Handler]:
    """Return the handler of a method, and the method that it is of: a HEAD is a GET."""
    method = "GET" if method == "HEAD" else method
    handler = route.handlers.get(method)
    if handler is None:
        raise HTTPError(
            405,
            "method_not_allowed",
            f"this path takes {route.allow}",
            {"Allow": route.allow},
        )
    return method, handler
