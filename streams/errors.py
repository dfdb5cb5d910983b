"""The exception classes of this package; each is raised where its cause is known.

A record that cannot be folded is a `streams.fold.BadRecord` instead: it ends up as data, in the
topic of dead letters.
"""

from __future__ import annotations


class StreamsError(Exception):
    """Base of all errors that this package raises on purpose; users may see the message."""


class SettingsError(StreamsError):
    """A setting or option is missing or invalid; the message names it and the valid values."""


class InvalidId(StreamsError, ValueError):
    """The id of a group, queue, session or message breaks the rules of `streams.ids`."""


class Unavailable(StreamsError):
    """Kafka did not confirm a record, or a partition cannot answer yet: try again.

    The outcome of a publish that ends so is unknown: the record may still be appended.

    Attributes:
        retry_after: seconds to wait before trying again.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLarge(StreamsError):
    """A record or body exceeds its limit; nothing was sent."""


class BadToken(StreamsError):
    """A token is invalid; the message reveals nothing of it."""


class UnknownKey(BadToken):
    """A token is signed with an unknown key; the key may be loaded later."""


class Forbidden(StreamsError):
    """The client lacks a permission; the message names it."""


class TooNew(StreamsError):
    """A partition needs a newer version of this program, or newer settings, to be folded.

    The engine does not put the record aside: the partition waits for a worker that can fold it.
    """
