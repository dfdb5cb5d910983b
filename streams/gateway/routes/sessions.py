"""Sessions of a queue: opening one with its groups, closing it."""

from __future__ import annotations

from aiohttp import web

from streams.folds import views
from streams.folds.tables import QUEUES
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.errors import HTTPError
from streams.gateway.http.paths import Route
from streams.gateway.http.responses import no_content
from streams.gateway.ports import Partition
from streams.gateway.routes.publish import LIST_BODY_BYTES, publish_bare, publish_parsed


async def open_session(context: RequestContext) -> web.StreamResponse:
    """Open a session, or take over from another."""
    context.parameters()
    queue, session, parser = context.id("queue"), context.id("session"), context.parser
    await publish_parsed(
        context,
        LIST_BODY_BYTES,
        lambda content: parser.open(queue, session, content),
        optional=True,
    )
    return no_content()


async def close_session(context: RequestContext) -> web.StreamResponse:
    """Close a session; its bindings end."""
    context.parameters()
    return await publish_bare(
        context, context.parser.close(context.id("queue"), context.id("session"))
    )


async def heartbeat(context: RequestContext) -> web.StreamResponse:
    """Keep a session from being closed for its silence; 404 when it is not open."""
    context.parameters()
    queue, session = context.id("queue"), context.id("session")
    record = context.parser.touch(queue, session)

    async def answer(partition: Partition) -> web.StreamResponse:
        if views.session(partition.rows, queue) != session:
            raise HTTPError(404, "no_session", "this session is not open")
        return await publish_bare(context, record)

    return await context.parts.owners.read(context, QUEUES, queue, answer)


ROUTES: list[Route[Handler]] = [
    Route(
        "/v1/queues/{queue}/sessions/{session}",
        {"PUT": open_session, "DELETE": close_session},
    ),
    Route("/v1/queues/{queue}/sessions/{session}/heartbeats", {"POST": heartbeat}),
]
