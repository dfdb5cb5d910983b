"""What is published and what is delivered, as plain data.

Knows the fields of the JSON, nothing of connections.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypedDict


class MessageFields(TypedDict, total=False):
    """What may be said of a message besides where it goes; what each means says `Draft`."""

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
    """A message to be published: to a group, or directly to a queue.

    A draft has an id from the start, so that it can be sent again without harm: a group
    drops what it has seen within ten minutes.
    """

    body: str | bytes
    group: str | None = None
    queue: str | None = None
    sender: str = ""
    kind: str = "text"
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    expires_at: datetime | int | None = None
    """After this it is not delivered any more; with a time zone, or milliseconds."""
    persistent: bool = True
    """Otherwise it goes to queues with an open session only, and ends with that."""
    echo: bool = True
    """Whether the queue that has the sender's id gets it too."""
    receipt: bool = False
    """Whether that queue is told when a receiver acknowledges."""
    priority: int | None = None
    """0 to 9: competing consumers get higher ones first; 4 as a rule."""

    def __post_init__(self) -> None:
        if (self.group is None) == (self.queue is None):
            raise ValueError("a draft needs either a group or a queue")
        if isinstance(self.expires_at, datetime) and self.expires_at.tzinfo is None:
            raise ValueError("expires_at needs a time zone")

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON that publishes it, without where it goes."""
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
    """Where Kafka has a message: a confirmation is a place in the log."""

    id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """How a queue is doing."""

    queue: str
    depth: int
    """Deliveries that are not acknowledged."""
    groups: int
    """Groups that the queue is bound to."""
    session: str | None
    """The open session."""


class Acknowledges(Protocol):
    """What a delivery came from."""

    def acknowledge(self, delivery: Delivery, *, cumulative: bool) -> Awaitable[None]:
        """Say that the consumer is done with it; returns once Kafka has that."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in one queue."""

    queue: str
    seq: int
    """Grows within the queue; the same whoever serves it."""
    id: str
    group: str
    """The group that it was sent to; `@` and the queue's id when it was sent directly."""
    sender: str
    kind: str
    headers: Mapping[str, str]
    body: bytes
    at: int
    """When Kafka took it, in milliseconds since the epoch."""
    fields: Mapping[str, Any] = field(repr=False, compare=False)
    """All that the worker said of it, also what this version has no name for."""
    _source: Acknowledges = field(repr=False, compare=False)

    @property
    def text(self) -> str:
        """The body as text.

        Raises:
            UnicodeDecodeError: it is none.
        """
        return self.body.decode()

    async def ack(self, *, cumulative: bool = False) -> None:
        """Be done with it, once for all; `cumulative`: and with all before it in its queue.

        Raises:
            Unavailable: Kafka did not confirm in time; it may be delivered again.
        """
        await self._source.acknowledge(self, cumulative=cumulative)


def milliseconds(moment: datetime | int) -> int:
    """Return a time in milliseconds since the epoch."""
    return moment if isinstance(moment, int) else int(moment.timestamp() * 1000)


def delivery(queue: str, content: Mapping[str, Any], source: Acknowledges) -> Delivery:
    """Make a delivery of the JSON that describes it."""
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
