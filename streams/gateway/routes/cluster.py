"""How the worker and its cluster are: for operators, probes and Prometheus."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from streams.gateway.cluster.forward import FORWARDED
from streams.gateway.http.answers import json_answer, unavailable
from streams.gateway.http.call import Call, Handler
from streams.gateway.http.paths import Route, integer


async def cluster(call: Call) -> web.StreamResponse:
    """Return partitions, owners, lag and recovery, as this worker sees them.

    With `all=1`, what every worker says of itself: this one asks the others.
    """
    if not integer(call.parameters("all"), "all", 0, 0, 1):
        return json_answer(call.parts.engine.status())
    overview = call.parts.overview
    if FORWARDED in call.request.headers:
        return json_answer(overview.own())
    return json_answer(await overview.all(call.principal.token))


async def healthy(call: Call) -> web.StreamResponse:
    """Answer 200 as long as the process lives and need not be restarted."""
    failure = call.parts.engine.status()["failure"]
    if failure is not None:
        raise unavailable(f"this worker has failed and is about to end: {failure}")
    return json_answer({"status": "ok"})


async def ready(call: Call) -> web.StreamResponse:
    """Answer 200 once Kafka is there and every partition of this worker answers reads."""
    status = call.parts.engine.status()
    reason = _not_ready(status)
    if reason is not None:
        raise unavailable(reason)
    return json_answer({"status": "ready"})


async def metrics(call: Call) -> web.StreamResponse:
    """Return the metrics in Prometheus' text format, or in OpenMetrics' when asked for it."""
    try:
        encode, content_type = choose_encoder(call.request.headers.get("Accept", ""))
    except (TypeError, ValueError):  # a version that is none
        encode, content_type = choose_encoder("")
    return web.Response(
        body=encode(call.parts.metrics.registry), headers={"Content-Type": content_type}
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
