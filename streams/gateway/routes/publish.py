"""What the endpoints that publish have in common."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from streams.gateway.http.bodies import json_object, read_body
from streams.gateway.http.context import RequestContext
from streams.gateway.http.fields import Fields
from streams.gateway.http.responses import no_content
from streams.gateway.ports import RecordMetadata, RecordToSend
from streams.gateway.writes.admission import Share

SMALL_BODY_BYTES = 64 * 1024
"""Limit of a body that need not be there."""
LIST_BODY_BYTES = 1024 * 1024
"""Limit of a body that is a list of ids or seqs."""


async def publish_bare(context: RequestContext, record: RecordToSend) -> web.Response:
    """Publish a record that the path alone describes; a body, if any, means nothing."""
    with Share(context.parts.admission):
        await context.parts.publishing.publish(record)
    return no_content()


async def publish_parsed(
    context: RequestContext,
    limit: int,
    make: Callable[[Fields], RecordToSend],
    *,
    optional: bool = False,
) -> tuple[RecordToSend, RecordMetadata]:
    """Publish the record that `make` makes of the body, a JSON object; return it and its place.

    With `optional`, no body is as good as an empty object.
    """
    with Share(context.parts.admission) as share:
        body = await read_body(context.request, limit, share)
        content = {} if optional and not body.strip() else json_object(body)
        record = make(content)
        return record, await context.parts.publishing.publish(record)
