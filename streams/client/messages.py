"""Messages to publish and deliveries received, as plain data.

Knows the JSON fields, nothing of connections.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypedDict


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
    whose id they have seen in the last ten minutes.

    Raises:
        ValueError: there is not exactly one of `group` and `queue`, or `expires_at` has no
            time zone.
    """

    body: str | bytes
    """Text, or up to 256 KiB (by default) of any bytes."""
    group: str | None = None
    """Group to publish to."""
    queue: str | None = None
    """Queue to send to, instead of a group."""
    sender: str = ""
    """Id of the sender; with a token, its subject is used when empty."""
    kind: str = "text"
    """Kind of the message, for its receivers; Streams does not interpret it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """More properties, for the receivers."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Id of the message; a new UUID by default."""
    expires_at: datetime | int | None = None
    """Time after which it is not delivered: with a time zone, or in milliseconds since 1970."""
    persistent: bool = True
    """If false, only queues with an open session get it, and lose it when that session ends."""
    echo: bool = True
    """Whether the queue whose id is the sender's also gets the message."""
    receipt: bool = False
    """Whether the sender's queue gets a receipt when a receiver acknowledges."""
    priority: int | None = None
    """0 to 9: competing consumers get higher priorities first; None for the default of 4."""

    def __post_init__(self) -> None:
        if (self.group is None) == (self.queue is None):
            raise ValueError("a draft needs either a group or a queue")
        if isinstance(self.expires_at, datetime) and self.expires_at.tzinfo is None:
            raise ValueError("expires_at needs a time zone")

    def fields(self) -> dict[str, Any]:
        """Return the JSON fields of a publish request, without the destination."""
        content: dict[str, Any] = {"id": self.id}
        if isinstance(self.body, str):
            content["body"] = self.body
        else:
            content["body_base64"] = base64.b64encode(self.body).decode()
        if self.sender:
            content["sender"] = self.sender
        if self.kind != "text":
            content["kind"] = self.kind
        if self.headers:
            content["headers"] = dict(self.headers)
        if self.expires_at is not None:
            content["expires_at"] = milliseconds(self.expires_at)
        if not self.echo:
            content["echo"] = False
        if self.receipt:
            content["receipt"] = True
        if self.priority is not None:
            content["priority"] = self.priority
        if not self.persistent:
            content["persistent"] = False
        return content


@dataclass(frozen=True, slots=True)
class Published:
    """Confirmation of a message: its position in Kafka."""

    id: str
    """Id of the message."""
    partition: int
    """Partition of the topic `group-events`."""
    offset: int
    """Offset in that partition."""


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """State of a queue."""

    queue: str
    depth: int
    """Number of deliveries that are not acknowledged."""
    groups: int
    """Number of groups that the queue is bound to."""
    session: str | None
    """Id of the open session; None without one."""


class Acknowledger(Protocol):
    """Where a delivery came from, and where its ack goes."""

    def acknowledge(self, delivery: Delivery, *, cumulative: bool) -> Awaitable[None]:
        """Acknowledge a delivery; returns once Kafka has the ack."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in one queue."""

    queue: str
    """Queue that it was delivered to."""
    seq: int
    """Sequence number, increasing within the queue; it survives moves between workers."""
    id: str
    """Id of the message."""
    group: str
    """Group that it was published to; `@` and the queue's id if it was sent directly."""
    sender: str
    """Id of the sender; may be empty."""
    kind: str
    """Kind of the message, as set by the sender."""
    headers: Mapping[str, str]
    """Headers, as set by the sender."""
    body: bytes
    """Body; see also `text`."""
    at: int
    """Time at which Kafka appended it, in milliseconds since 1970."""
    fields: Mapping[str, Any] = field(repr=False, compare=False)
    """All JSON fields from the worker, including those that this version does not know."""
    _source: Acknowledger = field(repr=False, compare=False)

    @property
    def text(self) -> str:
        """The body as text.

        Raises:
            UnicodeDecodeError: the body is not UTF-8.
        """
        return self.body.decode()

    async def ack(self, *, cumulative: bool = False) -> None:
        """Acknowledge the delivery, so that it is not delivered again.

        With `cumulative`, also acknowledge everything before it in its queue.

        Raises:
            Refused: a worker refused the ack.
            Unavailable: not confirmed in time; the message may be delivered again.
        """
        await self._source.acknowledge(self, cumulative=cumulative)


def milliseconds(moment: datetime | int) -> int:
    """Return a time in milliseconds since 1970."""
    return moment if isinstance(moment, int) else int(moment.timestamp() * 1000)


def delivery(queue: str, content: Mapping[str, Any], source: Acknowledger) -> Delivery:
    """Build a delivery from its JSON fields."""
    text = content.get("body")
    body = text.encode() if text is not None else base64.b64decode(content["body_base64"])
    return Delivery(
        queue=queue,
        seq=content["seq"],
        id=content["id"],
        group=content["group"],
        sender=content["sender"],
        kind=content["kind"],
        headers=content["headers"],
        body=body,
        at=content["at"],
        fields=content,
        _source=source,
    )
