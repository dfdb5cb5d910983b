"""What a queue is like, and its end: options, purge, delete."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from streams.events.records import Configure
from streams.folds import views
from streams.folds.options import Queue
from streams.folds.tables import QUEUES
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.errors import bad_request
from streams.gateway.http.paths import Route
from streams.gateway.http.responses import json_response, no_content
from streams.gateway.ports import Partition
from streams.gateway.routes.publish import SMALL_BODY_BYTES, publish_bare, publish_parsed
from streams.gateway.routes.queues import summary


async def configure(context: RequestContext) -> web.StreamResponse:
    """Give a queue options, in place of all that it has."""
    context.parameters()
    queue, parser = context.id("queue"), context.parser
    await publish_parsed(
        context, SMALL_BODY_BYTES, lambda content: parser.configure(queue, content), optional=True
    )
    return no_content()


async def options(context: RequestContext) -> web.StreamResponse:
    """Return the options of a queue; one that has none has the usual ones."""
    queue = context.id("queue")
    context.parameters()

    async def answer(partition: Partition) -> web.StreamResponse:
        state = views.options(partition.rows, queue) or Queue(Configure(queue))
        return json_response(_shown(state.options))

    return await context.parts.owners.read(context, QUEUES, queue, answer)


async def purge(context: RequestContext) -> web.StreamResponse:
    """Drop all messages of a queue."""
    context.parameters()
    return await publish_bare(context, context.parser.purge(context.id("queue")))


async def delete(context: RequestContext) -> web.StreamResponse:
    """End a queue; with erase=true, say what the logs hold of it still, and for how long."""
    queue = context.id("queue")
    erase = context.parameters("erase").get("erase", "false")
    if erase not in ("true", "false"):
        raise bad_request("bad_parameter", "erase must be true or false")
    await publish_bare(context, context.parser.delete(queue))
    if erase == "false":
        return no_content()
    hours = context.parts.settings.retention_hours
    ends = "never" if hours == -1 else f"{hours} hours after it was written"
    content = {
        "queue": queue,
        "erased": ["messages", "bindings", "session", "options"],
        "retained": {
            "hours": None if hours == -1 else hours,
            "what": "events that name the queue, and messages that it sent or was sent, in the "
            "logs; copies of messages that it sent, in the inboxes of others until they are "
            "acknowledged",
            "until": f"each record is deleted {ends}; until then who may read the history of its "
            "group can read it there",
        },
    }
    return json_response(content)


def _shown(options: Configure) -> dict[str, Any]:
    return {
        "max_length": options.max_length,
        "max_bytes": options.max_bytes,
        "overflow": options.overflow,
        "max_tries": options.max_tries,
        "dead_letter": options.dead_letter,
        "visibility_seconds": _seconds(options.visibility_ms),
        "ttl_seconds": _seconds(options.ttl_ms),
    }


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


ROUTES: list[Route[Handler]] = [
    Route("/v1/queues/{queue}", {"GET": summary, "DELETE": delete}),
    Route("/v1/queues/{queue}/options", {"GET": options, "PUT": configure}),
    Route("/v1/queues/{queue}/purge", {"POST": purge}),
]
