"""State of the worker and its cluster, for operators, probes and Prometheus."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from streams.gateway.cluster.overview import Overview, worker_status
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import unavailable
from streams.gateway.http.paths import integer
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Engine


class ClusterRoutes(Routes):
    """Handlers for the state of the worker and its cluster."""

    def __init__(self, engine: Engine, overview: Overview, registry: CollectorRegistry) -> None:
        self._engine = engine
        self._overview = overview
        self._registry = registry

    async def cluster(self, context: RequestContext) -> web.StreamResponse:
        """Return partitions, owners, lag and recovery, as this worker sees them.

        With `all=1`, this worker asks the others, and returns what each of them reports.
        With `debug=1`, it adds what its own parts and threads are doing.
        """
        parameters = context.parameters("all", "debug")
        whole, debug = (integer(parameters, name, 0, 0, 1) for name in ("all", "debug"))
        if debug:
            return json_response(worker_status(self._engine) | {"debug": self._engine.internals()})
        if not whole:
            return json_response(worker_status(self._engine))
        if context.proxied.is_forwarded:
            return json_response(self._overview.own())
        return json_response(await self._overview.all(context.principal.token))

    async def healthy(self, context: RequestContext) -> web.StreamResponse:
        """Return 200 while the process is alive and needs no restart."""
        failure = self._engine.status()["failure"]
        if failure is not None:
            raise unavailable(f"this worker has failed and is about to exit: {failure}")
        return json_response({"status": "ok"})

    async def ready(self, context: RequestContext) -> web.StreamResponse:
        """Return 200 while every partition of this worker can be read; else 503 with the reason."""
        reason = self._engine.status()["not_ready"]
        if reason is not None:
            raise unavailable(reason)
        return json_response({"status": "ready"})

    async def metrics(self, context: RequestContext) -> web.StreamResponse:
        """Return the metrics in Prometheus' text format, or OpenMetrics if the client asks."""
        try:
            encode, content_type = choose_encoder(context.request.headers.get("Accept", ""))
        except (TypeError, ValueError):  # an invalid version in Accept
            encode, content_type = choose_encoder("")
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    ROUTES = (
        HTTPRoute("GET", "/v1/cluster", cluster),
        HTTPRoute("GET", "/healthz", healthy),
        HTTPRoute("GET", "/readyz", ready),
        HTTPRoute("GET", "/metrics", metrics),
    )
