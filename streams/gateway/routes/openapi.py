"""The description of all paths, for tools and for readers."""

from __future__ import annotations

from aiohttp import web

from streams.gateway.http.answers import json_answer
from streams.gateway.http.call import Call, Handler
from streams.gateway.http.paths import Route
from streams.gateway.openapi.document import document


async def openapi(call: Call) -> web.StreamResponse:
    """Return the OpenAPI document."""
    call.parameters()
    return json_answer(document())


ROUTES: list[Route[Handler]] = [Route("/v1/openapi.json", {"GET": openapi})]
