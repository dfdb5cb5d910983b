"""The OpenAPI document of the HTTP API."""

from __future__ import annotations

from aiohttp import web

from streams.gateway.http.context import RequestContext
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.openapi.document import document


class OpenAPIRoutes(Routes):
    """The handler for the OpenAPI document."""

    async def openapi(self, context: RequestContext) -> web.StreamResponse:
        """Return the OpenAPI document."""
        context.parameters()
        return json_response(document())

    ROUTES = (HTTPRoute("GET", "/v1/openapi.json", openapi),)
