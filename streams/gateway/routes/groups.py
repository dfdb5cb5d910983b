"""Groups: binding queues, listing members, sending messages."""

from __future__ import annotations

from aiohttp import web

from streams.folds import views
from streams.folds.tables import MEMBERS
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.fields import id_of
from streams.gateway.http.paths import Route, integer
from streams.gateway.http.responses import json_response
from streams.gateway.ports import Partition
from streams.gateway.routes.publish import publish_bare, publish_parsed

MAX_PAGE = 1000
DEFAULT_PAGE = 100


async def bind(context: RequestContext) -> web.StreamResponse:
    """Bind a queue to a group."""
    context.parameters()
    return await publish_bare(
        context, context.parser.bind(context.id("group"), context.id("queue"))
    )


async def unbind(context: RequestContext) -> web.StreamResponse:
    """Remove a binding, whoever made it."""
    context.parameters()
    return await publish_bare(
        context, context.parser.unbind(context.id("group"), context.id("queue"))
    )


async def members(context: RequestContext) -> web.StreamResponse:
    """List the queues bound to a group, a page at a time, in ascending order of bytes."""
    group = context.destination("group")
    after, limit = page_of(context)

    async def answer(partition: Partition) -> web.StreamResponse:
        queues, following = views.members(partition.rows, group, after, limit)
        return json_response({"queues": queues, "next": following})

    return await context.parts.owners.read(context, MEMBERS, group, answer)


async def send(context: RequestContext) -> web.StreamResponse:
    """Send a message to a group."""
    context.parameters()
    return await send_to(context, context.destination("group"))


async def send_to(context: RequestContext, group: str) -> web.StreamResponse:
    """Send the message in the body to `group`."""
    parser = context.parser
    record, (partition, offset) = await publish_parsed(
        context, parser.request_limit, lambda content: parser.message(group, content)
    )
    content = {"id": record.message_id, "partition": partition, "offset": offset}
    return json_response(content, status=201)


def page_of(context: RequestContext) -> tuple[str | None, int]:
    """Return `after` and `limit` of a listing of ids."""
    parameters = context.parameters("after", "limit")
    after = parameters.get("after")
    if after is not None:
        id_of("after", after)
    return after, integer(parameters, "limit", DEFAULT_PAGE, 1, MAX_PAGE)


ROUTES: list[Route[Handler]] = [
    Route("/v1/groups/{group}/queues/{queue}", {"PUT": bind, "DELETE": unbind}),
    Route("/v1/groups/{group}/queues", {"GET": members}),
]
