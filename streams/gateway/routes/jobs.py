"""Competing consumers: leases of a queue's messages, and what is not acknowledged."""

from __future__ import annotations

import asyncio

from aiohttp import web

from streams.folds import views
from streams.folds.tables import QUEUES
from streams.gateway.http.bodies import json_object, read_body
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.errors import unavailable
from streams.gateway.http.fields import Fields
from streams.gateway.http.paths import Route, seconds
from streams.gateway.http.responses import messages_response, no_content
from streams.gateway.ports import Partition, RecordToSend
from streams.gateway.reads.deliveries import Shown, some
from streams.gateway.routes.publish import LIST_BODY_BYTES, SMALL_BODY_BYTES, publish_parsed
from streams.gateway.routes.queues import MAX_WAIT_SECONDS
from streams.gateway.writes.admission import Share

FOLD_SECONDS = 10.0
"""How long the fold may take to come to a Lease that Kafka has."""


async def lease(context: RequestContext) -> web.StreamResponse:
    """Take messages for a competing consumer; wait for the first one if asked to.

    Who gets what is decided by the fold, in the order of the log.
    """
    queue = context.id("queue")
    wait = seconds(context.parameters("wait"), "wait", MAX_WAIT_SECONDS)
    owners, waits, parser = context.parts.owners, context.parts.waits, context.parser

    async def answer(partition: Partition) -> web.StreamResponse:
        with Share(context.parts.admission) as share:
            body = await read_body(context.request, SMALL_BODY_BYTES, share)
        content = json_object(body) if body.strip() else {}
        parser.lease(queue, dict(content))  # wrong ones are not waited for
        now = asyncio.get_running_loop().time
        deadline = now() + min(wait, context.principal.seconds_left)
        while True:
            owners.check(partition)
            left = deadline - now()
            messages: list[Shown] = []
            if views.may_lease(partition.rows, queue):
                messages = await _take(
                    context, partition, queue, parser.lease(queue, dict(content))
                )
            if messages or left <= 0:
                return messages_response(messages)
            owners.check(partition)
            if not views.may_lease(partition.rows, queue):
                await waits.wait(queue.encode(), partition, left)
                context.principal.check()

    return await owners.read(context, QUEUES, queue, answer, wait)


async def _take(
    context: RequestContext, partition: Partition, queue: str, record: RecordToSend
) -> list[Shown]:
    """Append a Lease and return what it got.

    Raises:
        HTTPError: 503, that cannot be known here any more; what it got comes back by itself.
    """
    _, offset = await context.parts.publishing.publish(record)
    await partition.reached(offset, FOLD_SECONDS)
    context.parts.owners.check(partition)
    seqs = context.parts.leases.take(partition.number, offset)
    if seqs is None:
        raise unavailable("the lease was made, but what it got is not known here: try again")
    return some(partition.rows, queue, seqs)


async def nack(context: RequestContext) -> web.StreamResponse:
    """Give back deliveries: to be tried again, given up, or kept for longer."""
    context.parameters()
    queue, parser = context.id("queue"), context.parser

    def make(content: Fields) -> RecordToSend:
        return parser.nack(queue, content)

    await publish_parsed(context, LIST_BODY_BYTES, make)
    return no_content()


ROUTES: list[Route[Handler]] = [
    Route("/v1/queues/{queue}/leases", {"POST": lease}),
    Route("/v1/queues/{queue}/nacks", {"POST": nack}),
]
