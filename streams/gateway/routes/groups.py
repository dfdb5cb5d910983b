"""Groups: binding queues, listing members, sending messages."""

from __future__ import annotations

from aiohttp import web

from streams.folds import views
from streams.folds.tables import MEMBERS
from streams.gateway.http.answers import json_answer
from streams.gateway.http.call import Call, Handler
from streams.gateway.http.fields import Fields, id_of
from streams.gateway.http.paths import Route, integer
from streams.gateway.ports import Partition, RecordToSend
from streams.gateway.routes.publish import publish_bare, publish_parsed

MAX_PAGE = 1000
DEFAULT_PAGE = 100


async def bind(call: Call) -> web.StreamResponse:
    """Bind a queue to a group."""
    call.parameters()
    return await publish_bare(call, call.intake.bind(call.id("group"), call.id("queue")))


async def unbind(call: Call) -> web.StreamResponse:
    """Remove a binding, whoever made it."""
    call.parameters()
    return await publish_bare(call, call.intake.unbind(call.id("group"), call.id("queue")))


async def members(call: Call) -> web.StreamResponse:
    """List the queues bound to a group, a page at a time, in ascending order of bytes."""
    group = call.destination("group")
    after, limit = page_of(call)

    async def answer(partition: Partition) -> web.StreamResponse:
        queues, following = views.members(partition.rows, group, after, limit)
        return json_answer({"queues": queues, "next": following})

    return await call.parts.owners.read(call, MEMBERS, group, answer)


async def send(call: Call) -> web.StreamResponse:
    """Send a message to a group."""
    call.parameters()
    return await send_to(call, call.destination("group"))


async def send_to(call: Call, group: str) -> web.StreamResponse:
    """Send the message in the body to `group`."""
    intake = call.intake
    message_id = ""

    def make(content: Fields) -> RecordToSend:
        nonlocal message_id
        message_id, record = intake.message(group, content)
        return record

    partition, offset = await publish_parsed(call, intake.request_limit, make)
    content = {"id": message_id, "partition": partition, "offset": offset}
    return json_answer(content, status=201)


def page_of(call: Call) -> tuple[str | None, int]:
    """Return `after` and `limit` of a listing of ids."""
    parameters = call.parameters("after", "limit")
    after = parameters.get("after")
    if after is not None:
        id_of("after", after)
    return after, integer(parameters, "limit", DEFAULT_PAGE, 1, MAX_PAGE)


ROUTES: list[Route[Handler]] = [
    Route("/v1/groups/{group}/queues/{queue}", {"PUT": bind, "DELETE": unbind}),
    Route("/v1/groups/{group}/queues", {"GET": members}),
]
