"""What a client may raise: few classes, by what the caller can do about it."""

from __future__ import annotations

from streams.errors import StreamsError, Unavailable

__all__ = ["ClientClosed", "ClientError", "Refused", "Unavailable"]


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


class ClientClosed(ClientError):
    """The client, or the subscription, is not open (any more)."""
