"""Queues: reading an inbox and waiting for it, acknowledging, and what a queue is bound to."""

from __future__ import annotations

import asyncio

from aiohttp import web

from streams.folds import views
from streams.folds.tables import QUEUES
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.fields import MAX_LONG
from streams.gateway.http.paths import Route, integer, seconds
from streams.gateway.http.responses import json_response, messages_response, no_content
from streams.gateway.ports import Partition
from streams.gateway.reads.deliveries import page
from streams.gateway.routes.groups import DEFAULT_PAGE, MAX_PAGE, page_of, send_to
from streams.gateway.routes.publish import LIST_BODY_BYTES, publish_parsed
from streams.ids import direct_group

MAX_WAIT_SECONDS = 60.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""An inbox answer ends with the message that brings it over this, however many were asked."""


async def inbox(context: RequestContext) -> web.StreamResponse:
    """Return the messages of a queue after a seq; wait for the first one if asked to."""
    queue = context.id("queue")
    parameters = context.parameters("after", "limit", "wait")
    after = integer(parameters, "after", 0, 0, MAX_LONG)
    limit = integer(parameters, "limit", DEFAULT_PAGE, 1, MAX_PAGE)
    wait = seconds(parameters, "wait", MAX_WAIT_SECONDS)
    owners, waits = context.parts.owners, context.parts.waits

    async def answer(partition: Partition) -> web.StreamResponse:
        now = asyncio.get_running_loop().time
        deadline = now() + min(wait, context.principal.seconds_left)
        while True:
            owners.check(partition)
            messages, _ = page(partition.rows, queue, after, limit, MAX_ANSWER_BYTES)
            left = deadline - now()
            if messages or left <= 0:
                return messages_response(messages)
            await waits.wait(queue.encode(), partition, left)
            context.principal.check()

    return await owners.read(context, QUEUES, queue, answer, wait)


async def send(context: RequestContext) -> web.StreamResponse:
    """Send a message directly to a queue."""
    context.parameters()
    return await send_to(context, direct_group(context.id("queue")))


async def ack(context: RequestContext) -> web.StreamResponse:
    """Acknowledge deliveries."""
    context.parameters()
    queue, parser = context.id("queue"), context.parser
    await publish_parsed(context, LIST_BODY_BYTES, lambda content: parser.ack(queue, content))
    return no_content()


async def summary(context: RequestContext) -> web.StreamResponse:
    """Return how deep a queue is, how many groups it is bound to, and its open session."""
    queue = context.id("queue")
    context.parameters()
    owners, counting = context.parts.owners, context.parts.counting

    async def answer(partition: Partition) -> web.StreamResponse:
        def check() -> None:
            owners.check(partition)

        rows = partition.rows
        depth = await counting.count(rows, views.inbox_bucket(queue), check)
        groups = await counting.count(rows, views.bindings_bucket(queue), check)
        check()
        session = views.session(rows, queue)
        return json_response({"queue": queue, "depth": depth, "groups": groups, "session": session})

    return await owners.read(context, QUEUES, queue, answer)


async def bindings(context: RequestContext) -> web.StreamResponse:
    """List the groups that a queue is bound to, a page at a time."""
    queue = context.id("queue")
    after, limit = page_of(context)

    async def answer(partition: Partition) -> web.StreamResponse:
        groups, following = views.groups(partition.rows, queue, after, limit)
        return json_response({"groups": groups, "next": following})

    return await context.parts.owners.read(context, QUEUES, queue, answer)


ROUTES: list[Route[Handler]] = [
    Route("/v1/queues/{queue}/messages", {"GET": inbox, "POST": send}),
    Route("/v1/queues/{queue}/acks", {"POST": ack}),
    Route("/v1/queues/{queue}/groups", {"GET": bindings}),
]
