"""The AMQP connections of this worker, for the other workers.

Internal: `GET /v1/amqp/connections/{connection}` returns `{"alive": true}` if it is connected here.
"""

from __future__ import annotations

from aiohttp import web

from streams.gateway.amqp.registry import Registry
from streams.gateway.http.context import RequestContext
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes


class AMQPRoutes(Routes):
    """The handler for connections."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def connection(self, context: RequestContext) -> web.StreamResponse:
        """Tell whether a connection lives at this worker."""
        context.parameters()
        return json_response({"alive": context.id("connection") in self._registry.connections})

    ROUTES = (HTTPRoute("GET", "/v1/amqp/connections/{connection}", connection),)
