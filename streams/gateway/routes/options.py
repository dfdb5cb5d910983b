"""Options of a queue: its limits, retries and expiry."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from streams.events.records import Configure
from streams.folds import views
from streams.folds.options import Queue
from streams.folds.tables import QUEUES
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.responses import json_response, no_content
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Partition
from streams.gateway.writes.event_writer import SMALL_BODY_BYTES, EventWriter


class OptionRoutes(Routes):
    """Handlers for the options of one queue."""

    def __init__(self, router: PartitionRouter, writer: EventWriter) -> None:
        self._router = router
        self._writer = writer

    async def configure(self, context: RequestContext) -> web.StreamResponse:
        """Replace all options of a queue."""
        context.parameters()
        queue, parser = context.id("queue"), context.parser
        await self._writer.write_body(
            context,
            SMALL_BODY_BYTES,
            lambda content: parser.configure(queue, content),
            optional=True,
        )
        return no_content()

    async def options(self, context: RequestContext) -> web.StreamResponse:
        """Return the options of a queue; the defaults if it has none."""
        queue = context.id("queue")
        context.parameters()

        async def read(partition: Partition) -> web.StreamResponse:
            state = views.options(partition.rows, queue) or Queue(Configure(queue))
            return json_response(_fields(state.options))

        return await self._router.read(context.proxied, QUEUES, queue, read)

    ROUTES = (
        HTTPRoute("GET", "/v1/queues/{queue}/options", options),
        HTTPRoute("PUT", "/v1/queues/{queue}/options", configure),
    )


def _fields(options: Configure) -> dict[str, Any]:
    return {
        "max_length": options.max_length,
        "max_bytes": options.max_bytes,
        "overflow": options.overflow,
        "max_tries": options.max_tries,
        "dead_letter": options.dead_letter,
        "visibility_seconds": _seconds(options.visibility_ms),
        "ttl_seconds": _seconds(options.ttl_ms),
        "message_ttl_seconds": _seconds(options.message_ttl_ms),
        "declared": options.declared,
        "dead_letter_group": options.dead_letter_group,
        "dead_letter_keyed": options.dead_letter_keyed,
    }


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
