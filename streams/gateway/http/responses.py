"""The responses of the gateway: JSON, and one shape for every error.

Knows nothing of routes, Kafka or tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from streams.gateway.http.errors import HTTPError
from streams.gateway.ports import RecordMetadata, RecordToSend

if TYPE_CHECKING:
    from streams.gateway.reads.deliveries import Shown

JSON = "application/json"


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a response with `content` as JSON."""
    return web.Response(
        body=orjson.dumps(content), status=status, headers=headers, content_type=JSON
    )


def messages_response(messages: Iterable[Shown]) -> web.Response:
    """Return a response with deliveries."""
    content = b'{"messages":[%b]}' % b",".join([message.object() for message in messages])
    return web.Response(body=content, content_type=JSON)


def error_response(error: HTTPError) -> web.Response:
    """Return the response to a request that failed with `error`."""
    content = {"error": {"code": error.code, "message": str(error)}}
    return json_response(content, error.status, error.headers)


def no_content() -> web.Response:
    """Return a response without a body (204)."""
    return web.Response(status=204)


def message_sent(record: RecordToSend, metadata: RecordMetadata) -> web.Response:
    """Return the response for a published message (201)."""
    partition, offset = metadata
    content = {"id": record.message_id, "partition": partition, "offset": offset}
    return json_response(content, status=201)
