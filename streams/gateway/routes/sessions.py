"""Sessions of a queue: opening one with its groups, closing it."""

from __future__ import annotations

from aiohttp import web

from streams.folds import views
from streams.folds.tables import QUEUES
from streams.gateway.http.answers import Refusal, done
from streams.gateway.http.call import Call, Handler
from streams.gateway.http.paths import Route
from streams.gateway.ports import Partition
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


async def heartbeat(call: Call) -> web.StreamResponse:
    """Keep a session from being closed for its silence; 404 when it is not open."""
    call.parameters()
    queue, session = call.id("queue"), call.id("session")
    record = call.intake.touch(queue, session)

    async def answer(partition: Partition) -> web.StreamResponse:
        if views.session(partition.rows, queue) != session:
            raise Refusal(404, "no_session", "this session is not open")
        return await publish_bare(call, record)

    return await call.parts.owners.read(call, QUEUES, queue, answer)


ROUTES: list[Route[Handler]] = [
    Route(
        "/v1/queues/{queue}/sessions/{session}",
        {"PUT": open_session, "DELETE": close_session},
    ),
    Route("/v1/queues/{queue}/sessions/{session}/heartbeats", {"POST": heartbeat}),
]
