"""What a request is answered with: JSON, and one shape for every error.

Knows nothing of routes, Kafka or tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from streams.errors import BadToken, Forbidden, InvalidId, StreamsError, TooLarge, Unavailable

if TYPE_CHECKING:
    from streams.gateway.reads.deliveries import Shown

JSON = "application/json"


class Refusal(StreamsError):
    """A request that cannot be answered as asked.

    `code` is a stable word for programs; the text says what would have been right.
    `headers` are added to the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


def bad(code: str, message: str) -> Refusal:
    """Return the refusal of a request that is wrong in itself (400)."""
    return Refusal(400, code, message)


def busy(message: str, retry_after: float = 1.0) -> Refusal:
    """Return the refusal of a request that this worker has no room for just now (429)."""
    return Refusal(429, "busy", message, {"Retry-After": _seconds(retry_after)})


def limited(message: str, retry_after: float) -> Refusal:
    """Return the refusal of a request over somebody's rate (429)."""
    return Refusal(429, "rate_limited", message, {"Retry-After": _seconds(retry_after)})


def unavailable(message: str, retry_after: float = 1.0) -> Refusal:
    """Return the refusal of a request that will do in a moment (503)."""
    return Refusal(503, "unavailable", message, {"Retry-After": _seconds(retry_after)})


def refusal_of(error: StreamsError) -> Refusal:
    """Return how an error of this package is answered."""
    match error:
        case Refusal():
            return error
        case Unavailable():
            return unavailable(str(error), error.retry_after)
        case TooLarge():
            return Refusal(413, "too_large", str(error))
        case BadToken():
            headers = {"WWW-Authenticate": 'Bearer realm="streams", error="invalid_token"'}
            return Refusal(401, "unauthorized", str(error), headers)
        case Forbidden():
            headers = {"WWW-Authenticate": 'Bearer realm="streams", error="insufficient_scope"'}
            return Refusal(403, "forbidden", str(error), headers)
        case InvalidId():
            return bad("bad_id", str(error))
        case _:
            return Refusal(500, "internal", "internal error")


def json_answer(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Answer with `content` as JSON."""
    return web.Response(
        body=orjson.dumps(content), status=status, headers=headers, content_type=JSON
    )


def messages_answer(messages: Iterable[Shown]) -> web.Response:
    """Answer with deliveries."""
    content = b'{"messages":[%b]}' % b",".join([message.object() for message in messages])
    return web.Response(body=content, content_type=JSON)


def error_answer(refusal: Refusal) -> web.Response:
    """Answer a refused request."""
    content = {"error": {"code": refusal.code, "message": str(refusal)}}
    return json_answer(content, refusal.status, refusal.headers)


def done() -> web.Response:
    """Answer that it is done, with nothing to say (204)."""
    return web.Response(status=204)


def _seconds(retry_after: float) -> str:
    return str(max(1, math.ceil(retry_after)))
