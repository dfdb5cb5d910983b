"""The errors that a client raises: one class for each way in which a caller can react."""

from __future__ import annotations

from streams.errors import StreamsError, Unavailable

DELETED = "deleted"
"""Error code of a request that waited for a queue that was deleted."""

__all__ = [
    "ClientClosed",
    "ClientError",
    "QueueDeleted",
    "Refused",
    "SessionLost",
    "Unavailable",
]


class ClientError(StreamsError):
    """Base of the client's errors, except `Unavailable`."""


class Refused(ClientError):
    """A worker refused the request; repeating it would not help.

    `code` is the stable error code of the response, such as `bad_id`, and `status` its HTTP
    status (0 on a WebSocket stream).
    """

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class QueueDeleted(Refused):
    """A queue was deleted, with its bindings, while the client read it.

    Bind the queue again before you read on.  `queue` is its id, None if only the text has it.
    """

    def __init__(self, message: str, status: int = 0, queue: str | None = None) -> None:
        super().__init__(DELETED, message, status)
        self.queue = queue


class SessionLost(ClientError):
    """A session ended without being closed by its holder.

    `by` is the id of the session that took over.  It is None if the session timed out, was
    closed elsewhere, or may no longer be kept open (then `__cause__` says why).
    """

    def __init__(self, message: str, by: str | None = None) -> None:
        super().__init__(message)
        self.by = by


class ClientClosed(ClientError):
    """The client or the subscription is not open, or no longer."""
