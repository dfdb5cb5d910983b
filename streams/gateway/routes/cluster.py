"""How the worker and its cluster are: for operators, probes and Prometheus."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from streams.gateway.cluster.proxy import FORWARDED
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.errors import unavailable
from streams.gateway.http.paths import Route, integer
from streams.gateway.http.responses import json_response


async def cluster(context: RequestContext) -> web.StreamResponse:
    """Return partitions, owners, lag and recovery, as this worker sees them.

    With `all=1`, what every worker says of itself: this one asks the others.
    """
    if not integer(context.parameters("all"), "all", 0, 0, 1):
        return json_response(context.parts.engine.status())
    overview = context.parts.overview
    if FORWARDED in context.request.headers:
        return json_response(overview.own())
    return json_response(await overview.all(context.principal.token))


async def healthy(context: RequestContext) -> web.StreamResponse:
    """Answer 200 as long as the process lives and need not be restarted."""
    failure = context.parts.engine.status()["failure"]
    if failure is not None:
        raise unavailable(f"this worker has failed and is about to end: {failure}")
    return json_response({"status": "ok"})


async def ready(context: RequestContext) -> web.StreamResponse:
    """Answer 200 once Kafka is there and every partition of this worker answers reads."""
    status = context.parts.engine.status()
    reason = _not_ready(status)
    if reason is not None:
        raise unavailable(reason)
    return json_response({"status": "ready"})


async def metrics(context: RequestContext) -> web.StreamResponse:
    """Return the metrics in Prometheus' text format, or in OpenMetrics' when asked for it."""
    try:
        encode, content_type = choose_encoder(context.request.headers.get("Accept", ""))
    except (TypeError, ValueError):  # a version that is none
        encode, content_type = choose_encoder("")
    return web.Response(
        body=encode(context.parts.metrics.registry), headers={"Content-Type": content_type}
    )


def _not_ready(status: dict[str, Any]) -> str | None:
    """Return why a worker of this status cannot answer all of its reads, None when it can."""
    if status["failure"] is not None:
        return "this worker has failed and is about to end"
    if status["rebalancing"]:
        return "partitions are being assigned"
    own = [partition for partition in status["partitions"] if "state" in partition]
    if not own and status["generation"] <= 0:
        return "no partitions are assigned yet"
    # A partition that has lost touch with Kafka is not ready either.
    waiting = [partition for partition in own if not partition["ready"]]
    if waiting:
        first = waiting[0]
        return (
            f"{len(waiting)} of {len(own)} partitions are not ready; "
            f"partition {first['partition']} of {first['table']} is {first['state']}"
        )
    return None


ROUTES: list[Route[Handler]] = [
    Route("/v1/cluster", {"GET": cluster}),
    Route("/healthz", {"GET": healthy}),
    Route("/readyz", {"GET": ready}),
    Route("/metrics", {"GET": metrics}),
]
