"""Groups: bind and unbind queues, list members, send messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from streams.folds import views
from streams.folds.tables import MEMBERS
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.fields import pattern_of
from streams.gateway.http.responses import json_response, message_sent, no_content
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Partition, RecordToSend
from streams.gateway.routes.paging import page_of
from streams.gateway.writes.event_writer import EventWriter

KEY: Final = "routing_key"
"""Query parameter of a listing: only queues that a message with this key reaches."""


class GroupRoutes(Routes):
    """Handlers for one group."""

    def __init__(self, router: PartitionRouter, writer: EventWriter) -> None:
        self._router = router
        self._writer = writer

    async def bind(self, context: RequestContext) -> web.StreamResponse:
        """Bind a queue to a group."""
        context.parameters()
        record = context.parser.bind(context.id("group"), context.id("queue"))
        await self._writer.write(record)
        return no_content()

    async def unbind(self, context: RequestContext) -> web.StreamResponse:
        """Remove a binding, of a session or not."""
        context.parameters()
        record = context.parser.unbind(context.id("group"), context.id("queue"))
        await self._writer.write(record)
        return no_content()

    async def members(self, context: RequestContext) -> web.StreamResponse:
        """List the queues bound to a group, one page at a time, in ascending byte order."""
        group = context.destination("group")
        after, limit = page_of(context, KEY)
        key = context.parameters("after", "limit", KEY).get(KEY)
        if key is not None:
            pattern_of(KEY, key)

        async def read(partition: Partition) -> web.StreamResponse:
            rows = partition.rows
            if key is None:
                queues, following = views.members(rows, group, after, limit)
            else:
                queues, following = views.reached(rows, group, key, after, limit)
            return json_response({"queues": queues, "next": following})

        return await self._router.read(context.proxied, MEMBERS, group, read)

    async def bind_pattern(self, context: RequestContext) -> web.StreamResponse:
        """Add a pattern to a binding."""
        await self._writer.write(_of_pattern(context, context.parser.bind_pattern))
        return no_content()

    async def unbind_pattern(self, context: RequestContext) -> web.StreamResponse:
        """Remove a pattern from a binding."""
        await self._writer.write(_of_pattern(context, context.parser.unbind_pattern))
        return no_content()

    async def patterns(self, context: RequestContext) -> web.StreamResponse:
        """List the patterns of a binding."""
        context.parameters()
        group, queue = context.id("group"), context.id("queue")

        async def read(partition: Partition) -> web.StreamResponse:
            rows = partition.rows
            content = {
                "bound": views.member(rows, group, queue) is not None,
                "patterns": views.binding_patterns(rows, group, queue),
                "patterns_of_group": views.pattern_count(rows, group),
            }
            return json_response(content)

        return await self._router.read(context.proxied, MEMBERS, group, read)

    async def send(self, context: RequestContext) -> web.StreamResponse:
        """Send a message to a group."""
        context.parameters()
        group, parser = context.destination("group"), context.parser
        record, metadata = await self._writer.write_body(
            context, parser.request_limit, lambda content: parser.message(group, content)
        )
        return message_sent(record, metadata)

    ROUTES = (
        HTTPRoute("PUT", "/v1/groups/{group}/queues/{queue}", bind),
        HTTPRoute("DELETE", "/v1/groups/{group}/queues/{queue}", unbind),
        HTTPRoute("GET", "/v1/groups/{group}/queues/{queue}/patterns", patterns),
        HTTPRoute("PUT", "/v1/groups/{group}/queues/{queue}/patterns/{pattern}", bind_pattern),
        HTTPRoute("DELETE", "/v1/groups/{group}/queues/{queue}/patterns/{pattern}", unbind_pattern),
        HTTPRoute("GET", "/v1/groups/{group}/queues", members),
        HTTPRoute("POST", "/v1/groups/{group}/messages", send),
    )


def _of_pattern(
    context: RequestContext, make: Callable[[str, str, str], RecordToSend]
) -> RecordToSend:
    context.parameters()
    return make(context.id("group"), context.id("queue"), context.pattern("pattern"))
