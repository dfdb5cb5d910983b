"""Queues: reading an inbox and waiting for it, acknowledging, and what a queue is bound to."""

from __future__ import annotations

import asyncio

from aiohttp import web

from streams.folds import views
from streams.folds.tables import QUEUES
from streams.gateway.http.answers import done, json_answer, messages_answer
from streams.gateway.http.call import Call, Handler
from streams.gateway.http.fields import MAX_LONG
from streams.gateway.http.paths import Route, integer, seconds
from streams.gateway.ports import Partition
from streams.gateway.reads.deliveries import page
from streams.gateway.routes.groups import DEFAULT_PAGE, MAX_PAGE, page_of, send_to
from streams.gateway.routes.publish import LIST_BODY_BYTES, publish_parsed
from streams.ids import direct_group

MAX_WAIT_SECONDS = 60.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""An inbox answer ends with the message that brings it over this, however many were asked."""


async def inbox(call: Call) -> web.StreamResponse:
    """Return the messages of a queue after a seq; wait for the first one if asked to."""
    queue = call.id("queue")
    parameters = call.parameters("after", "limit", "wait")
    after = integer(parameters, "after", 0, 0, MAX_LONG)
    limit = integer(parameters, "limit", DEFAULT_PAGE, 1, MAX_PAGE)
    wait = seconds(parameters, "wait", MAX_WAIT_SECONDS)
    owners, waits = call.parts.owners, call.parts.waits

    async def answer(partition: Partition) -> web.StreamResponse:
        now = asyncio.get_running_loop().time
        deadline = now() + min(wait, call.principal.seconds_left)
        while True:
            owners.check(partition)
            messages, _ = page(partition.rows, queue, after, limit, MAX_ANSWER_BYTES)
            left = deadline - now()
            if messages or left <= 0:
                return messages_answer(messages)
            await waits.wait(queue.encode(), partition, left)
            call.principal.check()

    return await owners.read(call, QUEUES, queue, answer, wait)


async def send(call: Call) -> web.StreamResponse:
    """Send a message directly to a queue."""
    call.parameters()
    return await send_to(call, direct_group(call.id("queue")))


async def ack(call: Call) -> web.StreamResponse:
    """Acknowledge deliveries."""
    call.parameters()
    queue, intake = call.id("queue"), call.intake
    await publish_parsed(call, LIST_BODY_BYTES, lambda content: intake.ack(queue, content))
    return done()


async def summary(call: Call) -> web.StreamResponse:
    """Return how deep a queue is, how many groups it is bound to, and its open session."""
    queue = call.id("queue")
    call.parameters()
    owners, counting = call.parts.owners, call.parts.counting

    async def answer(partition: Partition) -> web.StreamResponse:
        def check() -> None:
            owners.check(partition)

        rows = partition.rows
        depth = await counting.count(rows, views.inbox_bucket(queue), check)
        groups = await counting.count(rows, views.bindings_bucket(queue), check)
        check()
        session = views.session(rows, queue)
        return json_answer({"queue": queue, "depth": depth, "groups": groups, "session": session})

    return await owners.read(call, QUEUES, queue, answer)


async def bindings(call: Call) -> web.StreamResponse:
    """List the groups that a queue is bound to, a page at a time."""
    queue = call.id("queue")
    after, limit = page_of(call)

    async def answer(partition: Partition) -> web.StreamResponse:
        groups, following = views.groups(partition.rows, queue, after, limit)
        return json_answer({"groups": groups, "next": following})

    return await call.parts.owners.read(call, QUEUES, queue, answer)


ROUTES: list[Route[Handler]] = [
    Route("/v1/queues/{queue}/messages", {"GET": inbox, "POST": send}),
    Route("/v1/queues/{queue}/acks", {"POST": ack}),
    Route("/v1/queues/{queue}/groups", {"GET": bindings}),
]
