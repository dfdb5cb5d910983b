"""Sessions of a queue: opening one with its groups, closing it."""

from __future__ import annotations

from aiohttp import web

from streams.gateway.answers import done
from streams.gateway.call import Call, Handler
from streams.gateway.paths import Route
from streams.gateway.routes.publish import LIST_BODY_BYTES, publish_bare, publish_parsed


async def open_session(call: Call) -> web.StreamResponse:
    """Open a session, or take over from another."""
    call.parameters()
    queue, session, intake = call.id("queue"), call.id("session"), call.intake
    await publish_parsed(
        call,
        LIST_BODY_BYTES,
        lambda content: intake.open(queue, session, content),
        optional=True,
    )
    return done()


async def close_session(call: Call) -> web.StreamResponse:
    """Close a session; its bindings end."""
    call.parameters()
    return await publish_bare(call, call.intake.close(call.id("queue"), call.id("session")))


ROUTES: list[Route[Handler]] = [
    Route(
        "/v1/queues/{queue}/sessions/{session}",
        {"PUT": open_session, "DELETE": close_session},
    ),
]
