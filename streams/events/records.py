"""The record types, as plain data; `schemas/*.avsc` says what each field means.

Times are milliseconds since the epoch.  Nothing here knows how records are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_RECORD: Final = 2 * 1024 * 1024
"""Bytes that a record's value may have, as the topics' max.message.bytes."""
MAX_MESSAGE: Final = 1024 * 1024
"""Bytes that an encoded Message may have: with a thousand queue ids it must fit a record."""
MAX_BODY: Final = 512 * 1024
"""Bytes that the body of a Message may have."""

NORMAL_PRIORITY: Final = 4
MAX_PRIORITY: Final = 9


@dataclass(frozen=True, slots=True)
class Origin:
    """Which record of queue-events led the deliver fold to ask for an event."""

    partition: int
    offset: int
    part: int


@dataclass(frozen=True, slots=True)
class Bind:
    """From here on `queue` receives what is sent to `group`."""

    group: str
    queue: str
    session: str | None = None
    at: int = 0
    origin: Origin | None = None
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Unbind:
    """From here on it no longer does; with a session, only if the binding is of that session."""

    group: str
    queue: str
    session: str | None = None
    at: int = 0
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Published to a group: each queue bound at this position of the log gets it."""

    id: str
    group: str
    sender: str
    kind: str = "text"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    at: int = 0
    expires_at: int | None = None
    persistent: bool = True
    echo: bool = True
    receipt: bool = False
    priority: int = NORMAL_PRIORITY
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """The consumer is done with all deliveries up to a seq, and with these."""

    queue: str
    upto: int | None = None
    seqs: tuple[int, ...] = ()
    at: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """The session begins, takes over from any other, and asks for bindings of its own."""

    queue: str
    session: str
    groups: tuple[str, ...] = ()
    at: int = 0
    ttl_ms: int | None = None
    presence: bool = True


@dataclass(frozen=True, slots=True)
class Touch:
    """The session is alive."""

    queue: str
    session: str
    at: int = 0


@dataclass(frozen=True, slots=True)
class Close:
    """The session ends, and with it the bindings made within it."""

    queue: str
    session: str
    at: int = 0


@dataclass(frozen=True, slots=True)
class Routed:
    """What the route fold has for the queues of one partition, as parallel columns."""

    source: int
    change_offsets: tuple[int, ...] = ()
    change_kinds: bytes = b""
    change_groups: tuple[str, ...] = ()
    change_queues: tuple[str, ...] = ()
    change_sessions: tuple[str, ...] = ()
    delivery_offsets: tuple[int, ...] = ()
    delivery_parts: tuple[int, ...] = ()
    delivery_messages: tuple[bytes, ...] = ()
    delivery_queues: tuple[tuple[str, ...], ...] = ()
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed in one partition: what was to be done by now is done."""

    at: int = 0


@dataclass(frozen=True, slots=True)
class Configure:
    """What the queue is like from here on: all of its options at once."""

    queue: str
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = "drop_oldest"
    max_tries: int | None = None
    dead_letter: str | None = None
    visibility_ms: int | None = None
    ttl_ms: int | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A competing consumer takes deliveries, which nobody else gets before the lease ends."""

    queue: str
    consumer: str = ""
    limit: int = 1
    visibility_ms: int | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class Nack:
    """The consumer is not done with these: retry, reject or extend, as `outcome` says."""

    queue: str
    seqs: tuple[int, ...] = ()
    outcome: str = "retry"
    delay_ms: int = 0
    consumer: str | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class Purge:
    """All deliveries that the queue has are dropped."""

    queue: str
    at: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """The queue ends: deliveries, bindings, session and options."""

    queue: str
    at: int = 0


GroupEvent = Bind | Unbind | Message
QueueEvent = Ack | Open | Touch | Close | Configure | Lease | Nack | Purge | Delete
"""What clients send about one queue."""

Event = GroupEvent | QueueEvent | Routed | Tick

EVENTS: tuple[type[Event], ...] = (
    *(Bind, Unbind, Message),
    *(Ack, Open, Touch, Close, Configure, Lease, Nack, Purge, Delete),
    *(Routed, Tick),
)
