"""HTTP errors: status, code and text, in one shape for all of the gateway.

Knows nothing of routes, Kafka or tables.
"""

from __future__ import annotations

import math

from streams.errors import BadToken, Forbidden, InvalidId, StreamsError, TooLarge, Unavailable


class HTTPError(StreamsError):
    """An error response: HTTP status, error code and text.

    `code` is a stable word for programs; the text tells people what to change.
    `headers` are added to the response.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


def bad_request(code: str, message: str) -> HTTPError:
    """Return the error for an invalid request (400)."""
    return HTTPError(400, code, message)


def busy(message: str, retry_after: float = 1.0) -> HTTPError:
    """Return the error for a request that exceeds this worker's capacity (429)."""
    return HTTPError(429, "busy", message, {"Retry-After": _seconds(retry_after)})


def rate_limited(message: str, retry_after: float) -> HTTPError:
    """Return the error for a request over its client's rate limit (429)."""
    return HTTPError(429, "rate_limited", message, {"Retry-After": _seconds(retry_after)})


def unavailable(message: str, retry_after: float = 1.0) -> HTTPError:
    """Return the error for a request that may succeed if repeated (503)."""
    return HTTPError(503, "unavailable", message, {"Retry-After": _seconds(retry_after)})


def deleted(queue: str) -> HTTPError:
    """Return the error for a request that waited for a queue that was deleted (410)."""
    return HTTPError(
        410,
        "deleted",
        f"queue {queue!r} was deleted with its bindings; bind it again before waiting again",
    )


def to_http_error(error: StreamsError) -> HTTPError:
    """Return the HTTP error for an error of this package."""
    match error:
        case HTTPError():
            return error
        case Unavailable():
            return unavailable(str(error), error.retry_after)
        case TooLarge():
            return HTTPError(413, "too_large", str(error))
        case BadToken():
            headers = {"WWW-Authenticate": 'Bearer realm="streams", error="invalid_token"'}
            return HTTPError(401, "unauthorized", str(error), headers)
        case Forbidden():
            headers = {"WWW-Authenticate": 'Bearer realm="streams", error="insufficient_scope"'}
            return HTTPError(403, "forbidden", str(error), headers)
        case InvalidId():
            return bad_request("bad_id", str(error))
        case _:
            return HTTPError(500, "internal", "internal error")


def _seconds(retry_after: float) -> str:
    return str(max(1, math.ceil(retry_after)))
