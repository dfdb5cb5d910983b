"""Queues: read an inbox or wait for it, send, acknowledge, list bindings, purge, delete."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from aiohttp import web

from streams.folds import row_keys, views
from streams.folds.tables import QUEUES
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import bad_request, deleted
from streams.gateway.http.fields import MAX_LONG
from streams.gateway.http.paths import integer, seconds
from streams.gateway.http.responses import (
    json_response,
    message_sent,
    messages_response,
    no_content,
)
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.http.sending import page_bytes
from streams.gateway.ports import Partition
from streams.gateway.reads.deliveries import Shown, page
from streams.gateway.reads.long_polls import LongPolls
from streams.gateway.reads.readers import Reader, Readers
from streams.gateway.reads.row_counter import RowCounter
from streams.gateway.reads.seqs import Seqs
from streams.gateway.routes.paging import (
    DEFAULT_PAGE,
    MAX_PAGE,
    MAX_RESPONSE_BYTES,
    MAX_WAIT_SECONDS,
    page_of,
)
from streams.gateway.writes.admission import Admission
from streams.gateway.writes.event_writer import LIST_BODY_BYTES, EventWriter
from streams.ids import direct_group


class QueueRoutes(Routes):
    """Handlers for one queue."""

    def __init__(
        self,
        router: PartitionRouter,
        writer: EventWriter,
        long_polls: LongPolls,
        readers: Readers,
        row_counter: RowCounter,
        seqs: Seqs,
        retention_hours: int,
        unsent: Admission,
    ) -> None:
        self._router = router
        self._writer = writer
        self._long_polls = long_polls
        self._readers = readers
        self._row_counter = row_counter
        self._seqs = seqs
        self._retention_hours = retention_hours
        self._unsent = unsent

    async def inbox(self, context: RequestContext) -> web.StreamResponse:
        """Return the messages of a queue after a seq; wait for the first one if asked to."""
        queue = context.id("queue")
        parameters = context.parameters("after", "limit", "wait")
        after = integer(parameters, "after", 0, 0, MAX_LONG)
        limit = integer(parameters, "limit", DEFAULT_PAGE, 1, MAX_PAGE)
        wait = seconds(parameters, "wait", MAX_WAIT_SECONDS)

        async def read(partition: Partition) -> web.StreamResponse:
            await self._seqs.check(partition.number, after, "after")
            now = asyncio.get_running_loop().time
            deadline = now() + min(wait, context.principal.seconds_left)
            key, holder = queue.encode(), context.principal.name or None
            # A request that does not wait is no reader: it only looks.
            with self._readers.reading(key) if wait else nullcontext(Reader()) as reader:
                while True:
                    self._router.check(partition)
                    most = page_bytes(self._unsent, holder, MAX_RESPONSE_BYTES)
                    messages = await self._page(partition, queue, after, limit, most)
                    left = deadline - now()
                    if messages or left <= 0:
                        return messages_response(messages)
                    if reader.deleted:
                        raise deleted(queue)
                    await self._long_polls.wait(key, partition, left)
                    context.principal.check()

        return await self._router.read(context.proxied, QUEUES, queue, read, wait)

    async def _page(
        self, partition: Partition, queue: str, after: int, limit: int, most: int
    ) -> list[Shown]:
        """Return at most `limit` messages, and one past `most` bytes.

        Other tasks run while expired messages are skipped.
        """
        messages: list[Shown] = []
        size = 0
        while True:
            read = page(partition.rows, queue, after, limit - len(messages), most - size)
            messages += read.found
            size += read.size
            if not read.more or len(messages) == limit or size > most:
                return messages
            after = read.last
            await asyncio.sleep(0)
            self._router.check(partition)

    async def send(self, context: RequestContext) -> web.StreamResponse:
        """Send a message directly to a queue."""
        context.parameters()
        group, parser = direct_group(context.id("queue")), context.parser
        record, metadata = await self._writer.write_body(
            context, parser.request_limit, lambda content: parser.message(group, content)
        )
        return message_sent(record, metadata)

    async def ack(self, context: RequestContext) -> web.StreamResponse:
        """Acknowledge deliveries."""
        context.parameters()
        queue, parser = context.id("queue"), context.parser
        await self._writer.write_body(
            context, LIST_BODY_BYTES, lambda content: parser.ack(queue, content)
        )
        return no_content()

    async def summary(self, context: RequestContext) -> web.StreamResponse:
        """Return a queue's depth, its groups, its session, and whether it has options."""
        queue = context.id("queue")
        context.parameters()

        async def read(partition: Partition) -> web.StreamResponse:
            def check() -> None:
                self._router.check(partition)

            rows, count = partition.rows, self._row_counter.count
            depth = await count(rows, row_keys.inbox_bucket(queue), check)
            groups = await count(rows, row_keys.bindings_bucket(queue), check)
            check()
            session = views.session(rows, queue)
            configured = views.options(rows, queue) is not None
            return json_response(
                {
                    "queue": queue,
                    "depth": depth,
                    "groups": groups,
                    "session": session,
                    "configured": configured,
                }
            )

        return await self._router.read(context.proxied, QUEUES, queue, read)

    async def bindings(self, context: RequestContext) -> web.StreamResponse:
        """List the groups that a queue is bound to, one page at a time."""
        queue = context.id("queue")
        after, limit = page_of(context)

        async def read(partition: Partition) -> web.StreamResponse:
            groups, following = views.groups(partition.rows, queue, after, limit)
            return json_response({"groups": groups, "next": following})

        return await self._router.read(context.proxied, QUEUES, queue, read)

    async def purge(self, context: RequestContext) -> web.StreamResponse:
        """Drop all messages of a queue."""
        context.parameters()
        await self._writer.write(context.parser.purge(context.id("queue")))
        return no_content()

    async def delete(self, context: RequestContext) -> web.StreamResponse:
        """Delete a queue; with erase=true, list what the logs still retain, and until when."""
        queue = context.id("queue")
        erase = context.parameters("erase").get("erase", "false")
        if erase not in ("true", "false"):
            raise bad_request("bad_parameter", "erase must be true or false")
        await self._writer.write(context.parser.delete(queue))
        return no_content() if erase == "false" else self._erased(queue)

    def _erased(self, queue: str) -> web.Response:
        hours = self._retention_hours
        ends = "never" if hours == -1 else f"{hours} hours after it was written"
        content = {
            "queue": queue,
            "erased": ["messages", "bindings", "session", "options"],
            "retained": {
                "hours": None if hours == -1 else hours,
                "what": "in the logs: events that name the queue, and messages that it sent or "
                "received; in other inboxes: messages that it sent, until they are acknowledged",
                "until": f"each record is deleted {ends}; until then, clients that may read the "
                "history of its group can read it",
            },
        }
        return json_response(content)

    ROUTES = (
        HTTPRoute("GET", "/v1/queues/{queue}", summary),
        HTTPRoute("DELETE", "/v1/queues/{queue}", delete),
        HTTPRoute("GET", "/v1/queues/{queue}/messages", inbox),
        HTTPRoute("POST", "/v1/queues/{queue}/messages", send),
        HTTPRoute("POST", "/v1/queues/{queue}/acks", ack),
        HTTPRoute("GET", "/v1/queues/{queue}/groups", bindings),
        HTTPRoute("POST", "/v1/queues/{queue}/purge", purge),
    )
