"""The description of all paths, for tools and for readers."""

from __future__ import annotations

from aiohttp import web

from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.paths import Route
from streams.gateway.http.responses import json_response
from streams.gateway.openapi.document import document


async def openapi(context: RequestContext) -> web.StreamResponse:
    """Return the OpenAPI document."""
    context.parameters()
    return json_response(document())


ROUTES: list[Route[Handler]] = [Route("/v1/openapi.json", {"GET": openapi})]
