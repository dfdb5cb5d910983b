"""A message to publish, as plain data.

Generated from schemas/*.avsc by `python -m streams.events.generate`; do not edit.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict


class MessageFields(TypedDict, total=False):
    """Optional fields of a message; see `Draft` for their meaning."""

    sender: str
    kind: str
    headers: Mapping[str, str]
    id: str
    expires_at: datetime | int | None
    persistent: bool
    echo: bool
    receipt: bool
    priority: int | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to publish, either to a group or directly to a queue.

    A draft gets its id when it is made, so it can safely be sent again: groups drop messages
    whose sender has used the id in the last ten minutes.

    Raises:
        ValueError: there is not exactly one of `group` and `queue`, or a time has no time zone.
    """

    body: str | bytes
    """Content of the message."""
    group: str | None = None
    """Group to publish to."""
    queue: str | None = None
    """Queue to send to, instead of a group."""
    sender: str = ""
    """Id of the sender, as the publisher states it. Empty: the subject of the token, if there is
    one."""
    kind: str = "text"
    """Tells readers how to interpret the body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Application headers."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Message id. A group drops a message whose sender has used the id within the last ten
    minutes, so a retry with the same id is safe. Generated if absent."""
    expires_at: datetime | int | None = None
    """The message is not delivered at or after this time. Null: it never expires. A time that has
    passed is accepted, as a retry may come late: nobody gets the message."""
    persistent: bool = True
    """False: only queues with an open session receive the message, and it is dropped when the
    session ends."""
    echo: bool = True
    """False: the queue whose id is the sender's does not receive the message."""
    receipt: bool = False
    """True: each time a receiver acknowledges the message, the queue whose id is the sender's gets
    a message of kind `receipt`. If the message is dropped as a repetition, that queue gets a
    message of kind `duplicate`."""
    priority: int | None = None
    """Competing consumers receive higher priorities first."""

    def __post_init__(self) -> None:
        if (self.group is None) == (self.queue is None):
            raise ValueError("a draft needs either a group or a queue")
        if isinstance(self.expires_at, datetime) and self.expires_at.tzinfo is None:
            raise ValueError("expires_at needs a time zone")

    def fields(self) -> dict[str, Any]:
        """Return the JSON fields of a publish request, without the destination."""
        if isinstance(self.body, str):
            return {"body": self.body, **self.options()}
        return {"body_base64": base64.b64encode(self.body).decode(), **self.options()}

    def options(self) -> dict[str, Any]:
        """Return the id, and the other fields that do not have their defaults."""
        content: dict[str, Any] = {"id": self.id}
        if self.sender:
            content["sender"] = self.sender
        if self.kind != "text":
            content["kind"] = self.kind
        if self.headers:
            content["headers"] = dict(self.headers)
        if self.expires_at is not None:
            content["expires_at"] = milliseconds(self.expires_at)
        if not self.persistent:
            content["persistent"] = self.persistent
        if not self.echo:
            content["echo"] = self.echo
        if self.receipt:
            content["receipt"] = self.receipt
        if self.priority is not None:
            content["priority"] = self.priority
        return content


def milliseconds(moment: datetime | int) -> int:
    """Return a time in milliseconds since the epoch.

    Raises:
        ValueError: it is not from 2001 to 9999, as a number of seconds is not.
    """
    found = moment if isinstance(moment, int) else int(moment.timestamp() * 1000)
    if not 978_307_200_000 <= found <= 253_402_300_799_999:
        raise ValueError(
            f"the time {moment} is not from 2001 to 9999; "
            "give a datetime, or milliseconds since 1970"
        )
    return found
