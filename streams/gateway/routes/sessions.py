"""Sessions of a queue: open one with its groups, keep it alive, close it."""

from __future__ import annotations

from aiohttp import web

from streams.folds import views
from streams.folds.tables import QUEUES
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError
from streams.gateway.http.responses import no_content
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Partition
from streams.gateway.writes.event_writer import LIST_BODY_BYTES, EventWriter


class SessionRoutes(Routes):
    """Handlers for the session of one queue."""

    def __init__(self, router: PartitionRouter, writer: EventWriter) -> None:
        self._router = router
        self._writer = writer

    async def open_session(self, context: RequestContext) -> web.StreamResponse:
        """Open a session, or take over from another one."""
        context.parameters()
        queue, session, parser = context.id("queue"), context.id("session"), context.parser
        await self._writer.write_body(
            context,
            LIST_BODY_BYTES,
            lambda content: parser.open(queue, session, content),
            optional=True,
        )
        return no_content()

    async def close_session(self, context: RequestContext) -> web.StreamResponse:
        """Close a session, which ends its bindings."""
        context.parameters()
        await self._writer.write(context.parser.close(context.id("queue"), context.id("session")))
        return no_content()

    async def heartbeat(self, context: RequestContext) -> web.StreamResponse:
        """Keep a session from timing out; 404 if it is not open."""
        context.parameters()
        queue, session = context.id("queue"), context.id("session")
        record = context.parser.touch(queue, session)

        async def read(partition: Partition) -> web.StreamResponse:
            if views.session(partition.rows, queue) != session:
                raise HTTPError(404, "no_session", "this session is not open")
            await self._writer.write(record)
            return no_content()

        return await self._router.read(context.proxied, QUEUES, queue, read)

    ROUTES = (
        HTTPRoute("PUT", "/v1/queues/{queue}/sessions/{session}", open_session),
        HTTPRoute("DELETE", "/v1/queues/{queue}/sessions/{session}", close_session),
        HTTPRoute("POST", "/v1/queues/{queue}/sessions/{session}/heartbeats", heartbeat),
    )
