"""What each path of the gateway does, one module for each kind of thing.

A handler reads its parameters, calls one part, and answers; it holds no state.
"""

from streams.gateway.http.context import Handler
from streams.gateway.http.paths import Route
from streams.gateway.routes import (
    cluster,
    events,
    groups,
    history,
    jobs,
    openapi,
    options,
    page,
    queue_events,
    queues,
    sessions,
    stream,
    tables,
)

ROUTES: list[Route[Handler]] = [
    *groups.ROUTES,
    *history.ROUTES,
    *queues.ROUTES,
    *options.ROUTES,
    *jobs.ROUTES,
    *queue_events.ROUTES,
    *stream.ROUTES,
    *sessions.ROUTES,
    *events.ROUTES,
    *tables.ROUTES,
    *cluster.ROUTES,
    *openapi.ROUTES,
    *page.ROUTES,
]
