"""History of a group: read it from the log, and replay a span of it into a queue."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from streams.events.records import Message
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.http import fields as f
from streams.gateway.http.bodies import json_object, read_body
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import bad_request
from streams.gateway.http.paths import integer, seconds
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.reads.deliveries import message_fields
from streams.gateway.reads.history import History, Moment, NotAnOffset, Span
from streams.gateway.routes.paging import DEFAULT_PAGE, MAX_PAGE, MAX_WAIT_SECONDS
from streams.gateway.writes.admission import Admission, Share
from streams.gateway.writes.event_writer import SMALL_BODY_BYTES
from streams.gateway.writes.publishing import Publishing

POLL_SECONDS = 0.3
"""Pause between two reads of the log while a request waits for a message."""
FIRST = Moment(0)


class HistoryRoutes(Routes):
    """Handlers for the history of one group."""

    def __init__(
        self,
        history: History,
        authenticator: Authenticator,
        publishing: Publishing,
        admission: Admission,
    ) -> None:
        self._history = history
        self._authenticator = authenticator
        self._publishing = publishing
        self._admission = admission

    async def read(self, context: RequestContext) -> web.StreamResponse:
        """Return messages sent to a group, starting at an offset or a time."""
        group = context.destination("group")
        parameters = context.parameters("from", "to", "limit", "wait")
        start = _moment("from", parameters.get("from"), "bad_parameter") or FIRST
        stop = _moment("to", parameters.get("to"), "bad_parameter")
        limit = integer(parameters, "limit", DEFAULT_PAGE, 1, MAX_PAGE)
        now = asyncio.get_running_loop().time
        wait = min(seconds(parameters, "wait", MAX_WAIT_SECONDS), context.principal.seconds_left)
        deadline = now() + wait
        while True:
            span = await self._span(group, start, stop, limit, "bad_parameter")
            if span.messages or not span.end or now() >= deadline:
                messages = [_fields(*found) for found in span.messages]
                return json_response({"messages": messages, **_place(span)})
            start = Moment(span.next)
            await asyncio.sleep(POLL_SECONDS)
            context.principal.check()

    async def replay(self, context: RequestContext) -> web.StreamResponse:
        """Deliver a span of a group's history to a queue.

        Repeating it within the deduplication window delivers nothing twice.
        """
        group, parser = context.destination("group"), context.parser
        context.parameters()
        with Share(self._admission, context.principal.name or None) as share:
            content = json_object(await read_body(context.request, SMALL_BODY_BYTES, share))
            queue = f.take_id(content, "queue")
            start = _moment("from", content.pop("from", None), "bad_field") or FIRST
            stop = _moment("to", content.pop("to", None), "bad_field")
            limit = f.take_optional_integer(content, "limit", 1, MAX_PAGE) or MAX_PAGE
            f.refuse_rest(content)
            parser.check_replay(queue)
            span = await self._span(group, start, stop, limit, "bad_field")
            share.take(sum(len(message.body) for _, _, message in span.messages))
            records = [
                parser.replayed(queue, span.partition, offset, at, message)
                for offset, at, message in span.messages
                # A queue's own replay into itself would otherwise never end.
                if message.headers.get("replay-group") != message.group
            ]
            self._authenticator.charge_rest(context.principal, len(records))
            if records:
                await self._publishing.publish_many(records)
        return json_response({"replayed": len(records), **_place(span)})

    async def _span(
        self, group: str, start: Moment, stop: Moment | None, limit: int, code: str
    ) -> Span:
        try:
            return await self._history.read(group, start, stop, limit)
        except NotAnOffset as error:
            raise bad_request(code, str(error)) from None

    ROUTES = (
        HTTPRoute("GET", "/v1/groups/{group}/messages", read),
        HTTPRoute("POST", "/v1/groups/{group}/replays", replay),
    )


def _place(span: Span) -> dict[str, Any]:
    return {"next": span.next, "end": span.end, "held": span.held}


def _fields(offset: int, at: int, message: Message) -> dict[str, Any]:
    return {"offset": offset, **message_fields(message), "at": at}


def _moment(name: str, value: Any, code: str) -> Moment | None:
    """Return an offset, or a time in ISO 8601 (UTC if it names no zone)."""
    if value is None or value == "":
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
            return Moment(int(text))
        try:
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
            return Moment(max(0, int(at.timestamp() * 1000)), is_time=True)
        except (ValueError, OverflowError):
            pass
    raise bad_request(code, f"{name} must be an offset, or a time such as 2030-01-31T12:00:00Z")
