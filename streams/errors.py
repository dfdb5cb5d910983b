"""The few exception classes of this package; each is raised where its cause is known.

What goes wrong with one *record* is `streams.fold.BadRecord`: that is data, not an error.
"""

from __future__ import annotations


class StreamsError(Exception):
    """Base of all errors that this package raises on purpose; its text is fit for a user."""


class SettingsError(StreamsError):
    """A setting is missing or wrong; the text names the variable and says what it may be."""


class InvalidId(StreamsError, ValueError):
    """An id of a group, queue, session or message breaks the rules of `streams.ids`."""


class Unavailable(StreamsError):
    """Kafka did not confirm, or a partition cannot answer yet: try again.

    `retry_after` is in seconds.  A publish that ended so is *unknown*: it may still land.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLarge(StreamsError):
    """A record or body is over its limit; nothing was sent."""


class BadToken(StreamsError):
    """A token says nothing that can be relied on; the text holds nothing of it."""


class UnknownKey(BadToken):
    """A token is signed with a key that is not known, or not yet."""


class Forbidden(StreamsError):
    """Who asks may not do this; the text says what is missing."""
