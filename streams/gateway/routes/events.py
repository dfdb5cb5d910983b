"""Many events in one request, with one confirmation for all."""

from __future__ import annotations

import asyncio

from aiohttp import web

from streams.errors import StreamsError, Unavailable
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.http.bodies import json_object, lines_of
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError, to_http_error, unavailable
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import RecordToSend
from streams.gateway.reads.seqs import Seqs
from streams.gateway.writes.admission import FLAT_BYTES, Admission, Share
from streams.gateway.writes.publishing import Publishing

MAX_BYTES = 16 * 1024 * 1024
MAX_EVENTS = 100_000
LINES_PER_TURN = 200
"""Lines parsed before the event loop gets a turn."""
RECORDS_PER_TURN = 1000
"""Records sent to the producer at a time, in order: the next ones once these are confirmed."""


class EventRoutes(Routes):
    """The handler for batches of events."""

    def __init__(
        self,
        authenticator: Authenticator,
        publishing: Publishing,
        admission: Admission,
        seqs: Seqs,
    ) -> None:
        self._seqs = seqs
        self._authenticator = authenticator
        self._publishing = publishing
        self._admission = admission

    async def publish(self, context: RequestContext) -> web.StreamResponse:
        """Publish all events of the body, or none if any of them is invalid."""
        context.parameters()
        with Share(self._admission, context.principal.name or None) as share:
            records = await _parsed(context, share, self._seqs)
            context.principal.check()
            events = sum(record.events for record in records)
            self._authenticator.charge_rest(context.principal, events)
            await self._send(records)
        return json_response({"events": len(records)})

    async def _send(self, records: list[RecordToSend]) -> None:
        for start in range(0, len(records), RECORDS_PER_TURN):
            try:
                await self._publishing.publish_many(records[start : start + RECORDS_PER_TURN])
            except Unavailable as error:
                raise unavailable(
                    f"not all events were confirmed, at least {start} of {len(records)} were; it "
                    "is safe to send all of them again: repeated binds and unbinds change "
                    "nothing, and repeated messages that carry an id are dropped",
                    error.retry_after,
                ) from error

    ROUTES = (HTTPRoute("POST", "/v1/events", publish),)


async def _parsed(context: RequestContext, share: Share, seqs: Seqs) -> list[RecordToSend]:
    parser = context.parser
    records: list[RecordToSend] = []
    lines = lines_of(context.request, MAX_BYTES, parser.request_limit, share)
    async for number, line in lines:
        if len(records) == MAX_EVENTS:
            raise HTTPError(413, "too_large", f"more than {MAX_EVENTS} events in one request")
        try:
            record = parser.line(json_object(line))
            if record.seq:
                await seqs.check_record(record)
            records.append(record)
        except StreamsError as error:
            raise _of_line(number, error) from None
        del line  # the record has what matters of it
        if not len(records) % LINES_PER_TURN:
            share.take(LINES_PER_TURN * FLAT_BYTES // 16)
            await asyncio.sleep(0)
    return records


def _of_line(number: int, error: StreamsError) -> HTTPError:
    # Not in the frame of the loop: that would live on with the error, and so would all records.
    reason = to_http_error(error)
    return HTTPError(reason.status, reason.code, f"line {number}: {reason}", reason.headers)
