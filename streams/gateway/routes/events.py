"""Many events in one request, one confirmation for all."""

from __future__ import annotations

import asyncio

from aiohttp import web

from streams.errors import StreamsError, Unavailable
from streams.gateway.http.bodies import json_object, lines_of
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.errors import HTTPError, to_http_error, unavailable
from streams.gateway.http.paths import Route
from streams.gateway.http.responses import json_response
from streams.gateway.ports import RecordToSend
from streams.gateway.writes.admission import FLAT_BYTES, Share

MAX_BYTES = 16 * 1024 * 1024
MAX_EVENTS = 100_000
LINES_PER_TURN = 200
"""Lines checked before the event loop gets a turn."""
RECORDS_PER_TURN = 1000
"""Records handed to the producer at a time, in order: the next when these are confirmed."""


async def publish(context: RequestContext) -> web.StreamResponse:
    """Publish all events of the body; nothing is sent unless all of them are right."""
    context.parameters()
    with Share(context.parts.admission) as share:
        records = await _checked(context, share)
        context.principal.check()
        context.parts.guard.add_debt(context.principal, len(records) - 1)
        await _send(context, records)
    return json_response({"events": len(records)})


async def _checked(context: RequestContext, share: Share) -> list[RecordToSend]:
    parser = context.parser
    records: list[RecordToSend] = []
    lines = lines_of(context.request, MAX_BYTES, parser.request_limit, share)
    async for number, line in lines:
        if len(records) == MAX_EVENTS:
            raise HTTPError(413, "too_large", f"more than {MAX_EVENTS} events in one request")
        try:
            records.append(parser.line(json_object(line)))
        except StreamsError as error:
            refusal = to_http_error(error)
            raise HTTPError(
                refusal.status, refusal.code, f"line {number}: {refusal}", refusal.headers
            ) from None
        if not len(records) % LINES_PER_TURN:
            share.take(LINES_PER_TURN * FLAT_BYTES // 16)
            await asyncio.sleep(0)
    return records


async def _send(context: RequestContext, records: list[RecordToSend]) -> None:
    for start in range(0, len(records), RECORDS_PER_TURN):
        try:
            await context.parts.publishing.publish_many(records[start : start + RECORDS_PER_TURN])
        except Unavailable as error:
            raise unavailable(
                f"not all events were confirmed, at least {start} of {len(records)} were; it is "
                "safe to send all of them again: binds and unbinds repeat without harm, and so "
                "do messages that carry an id",
                error.retry_after,
            ) from error


ROUTES: list[Route[Handler]] = [Route("/v1/events", {"POST": publish})]
