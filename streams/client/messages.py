"""Deliveries and confirmations, as plain data.

Knows the JSON fields, nothing of connections.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


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
