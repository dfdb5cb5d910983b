"""What a client may raise: few classes, by what the caller can do about it."""

from __future__ import annotations

from streams.errors import StreamsError, Unavailable

__all__ = ["ClientClosed", "ClientError", "Refused", "SessionLost", "Unavailable"]


class ClientError(StreamsError):
    """Base of the errors that are the client's own; `Unavailable` is the system's."""


class Refused(ClientError):
    """The worker will not do it, however often it is asked.

    `code` is the stable word of the answer, `status` its HTTP status (0 on a stream).
    """

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class SessionLost(ClientError):
    """A session has ended that its holder did not close.

    `by` is the session that took over; None when it was silent for too long, was closed by
    somebody else, or may not be kept open any more (then there is a `__cause__`).
    """

    def __init__(self, message: str, by: str | None = None) -> None:
        super().__init__(message)
        self.by = by


class ClientClosed(ClientError):
    """The client, or the subscription, is not open (any more)."""
