"""Groups: bind and unbind queues, list members, send messages."""

from __future__ import annotations

from aiohttp import web

from streams.folds import views
from streams.folds.tables import MEMBERS
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.responses import json_response, message_sent, no_content
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Partition
from streams.gateway.routes.paging import page_of
from streams.gateway.writes.event_writer import EventWriter


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
        after, limit = page_of(context)

        async def read(partition: Partition) -> web.StreamResponse:
            queues, following = views.members(partition.rows, group, after, limit)
            return json_response({"queues": queues, "next": following})

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
        HTTPRoute("GET", "/v1/groups/{group}/queues", members),
        HTTPRoute("POST", "/v1/groups/{group}/messages", send),
    )
