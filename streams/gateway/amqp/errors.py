"""The errors of AMQP: each closes a channel or a connection, with a reply code and a text."""

from __future__ import annotations

from typing import Final

from streams.errors import BadToken, Forbidden, InvalidId, StreamsError, TooLarge
from streams.gateway.http.errors import HTTPError

REPLY_SUCCESS: Final = 200
CONTENT_TOO_LARGE: Final = 311
NO_ROUTE: Final = 312
CONNECTION_FORCED: Final = 320
ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
RESOURCE_LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406
FRAME_ERROR: Final = 501
SYNTAX_ERROR: Final = 502
COMMAND_INVALID: Final = 503
CHANNEL_ERROR: Final = 504
UNEXPECTED_FRAME: Final = 505
RESOURCE_ERROR: Final = 506
NOT_ALLOWED: Final = 530
NOT_IMPLEMENTED: Final = 540
INTERNAL_ERROR: Final = 541

_NAMES: Final = {
    CONTENT_TOO_LARGE: "CONTENT_TOO_LARGE",
    NO_ROUTE: "NO_ROUTE",
    CONNECTION_FORCED: "CONNECTION_FORCED",
    ACCESS_REFUSED: "ACCESS_REFUSED",
    NOT_FOUND: "NOT_FOUND",
    RESOURCE_LOCKED: "RESOURCE_LOCKED",
    PRECONDITION_FAILED: "PRECONDITION_FAILED",
    FRAME_ERROR: "FRAME_ERROR",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    COMMAND_INVALID: "COMMAND_INVALID",
    CHANNEL_ERROR: "CHANNEL_ERROR",
    UNEXPECTED_FRAME: "UNEXPECTED_FRAME",
    RESOURCE_ERROR: "RESOURCE_ERROR",
    NOT_ALLOWED: "NOT_ALLOWED",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    INTERNAL_ERROR: "INTERNAL_ERROR",
}
_MAX_TEXT_BYTES: Final = 255


class AMQPError(StreamsError):
    """An error that closes a channel, or the connection if `hard`."""

    def __init__(self, code: int, text: str, *, hard: bool = False) -> None:
        """Take the reply code, and a text that says what to change."""
        super().__init__(text)
        self.code = code
        self.hard = hard or code in _HARD

    @property
    def reply_text(self) -> str:
        """Name of the code and the text, as long as a reply text may be."""
        name = _NAMES.get(self.code, "")
        text = f"{name} - {self}" if name else str(self)
        return text.encode()[:_MAX_TEXT_BYTES].decode(errors="ignore")


_HARD: Final = frozenset(
    {
        CONNECTION_FORCED,
        FRAME_ERROR,
        SYNTAX_ERROR,
        COMMAND_INVALID,
        CHANNEL_ERROR,
        UNEXPECTED_FRAME,
        RESOURCE_ERROR,
        NOT_ALLOWED,
    }
)
"""Codes that always close the connection.

The standard has two more, 540 and 541.  They close only the channel here when the client can
do without what was refused; `hard` says when it cannot.
"""


def not_implemented(what: str) -> AMQPError:
    """Return the error for a part of the protocol that there is not; it closes the connection."""
    return AMQPError(NOT_IMPLEMENTED, what, hard=True)


def to_amqp_error(error: StreamsError) -> AMQPError:
    """Return the AMQP error for an error of this package."""
    if isinstance(error, AMQPError):
        return error
    if isinstance(error, TooLarge):
        return AMQPError(CONTENT_TOO_LARGE, str(error))
    if isinstance(error, (Forbidden, BadToken)):
        return AMQPError(ACCESS_REFUSED, str(error))
    if isinstance(error, InvalidId):
        return AMQPError(PRECONDITION_FAILED, str(error))
    if isinstance(error, HTTPError):
        code = {401: ACCESS_REFUSED, 403: ACCESS_REFUSED, 404: NOT_FOUND, 413: CONTENT_TOO_LARGE}
        if error.status in code:
            return AMQPError(code[error.status], str(error))
        if error.status < 500 and error.status != 429:
            return AMQPError(PRECONDITION_FAILED, str(error))
    return AMQPError(INTERNAL_ERROR, str(error))
