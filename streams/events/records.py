"""The events as plain data.

Generated from schemas/*.avsc by `python -m streams.events.generate`; do not edit.
Times are milliseconds since the epoch.  Nothing here knows how records are encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Origin:
    """Set only by the deliver fold, if it requested this event."""

    partition: int
    """Partition of queue-events."""
    offset: int
    """Offset in queue-events."""
    part: int
    """Number of the event, from 0, among those that the record led to."""
    log: int = 0
    """Number of that log queue-events; 0 if version 0.1 wrote the event."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The consumer has processed these deliveries.

    They are removed.
    """

    queue: str
    """Queue id. Key of the Kafka record."""
    upto: int | None = None
    """Acknowledge every delivery up to and including this seq."""
    seqs: tuple[int, ...] = ()
    """Acknowledge these deliveries."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Bind:
    """Binds a queue to a group: from this offset on, the queue receives the group's messages."""

    group: str
    """Group id. Key of the Kafka record."""
    queue: str
    """Queue id."""
    session: str | None = None
    """The binding ends with this session. Null: the binding is permanent."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""
    origin: Origin | None = None
    """Set only by the deliver fold, if it requested this event."""
    replaces: str | None = None
    """Bind only if the binding now belongs to this session. Null: bind in any case."""


@dataclass(frozen=True, slots=True)
class BindPattern:
    """Adds a pattern to a binding: the queue receives what matches any of its patterns.

    A binding without patterns receives every message of the group, and so does the pattern `#`.
    The binding is made if there is none, and is permanent.
    """

    group: str
    """Group id. Key of the Kafka record."""
    queue: str
    """Queue id."""
    pattern: str
    """Words separated by dots, compared with the header `routing-key` of a message: `*` stands for
    one word, `#` for any number of them. At most 255 bytes."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""
    origin: Origin | None = None
    """Set only by the route fold, if it forwarded this event after a rescale."""


@dataclass(frozen=True, slots=True)
class Close:
    """Closes the session.

    The bindings made within it end.
    """

    queue: str
    """Queue id. Key of the Kafka record."""
    session: str
    """Session id."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Configure:
    """Sets all options of the queue at once."""

    queue: str
    """Queue id. Key of the Kafka record."""
    max_length: int | None = None
    """Most deliveries that the queue may hold. Null: no limit."""
    max_bytes: int | None = None
    """Most bytes of messages that the queue may hold. Null: no limit."""
    overflow: str = "drop_oldest"
    """What happens when a limit is exceeded. reject drops the new message and sends its sender a
    message of kind `rejected`."""
    max_tries: int | None = None
    """A delivery that has failed this many times is given up. Null: it is retried forever."""
    dead_letter: str | None = None
    """Queue that receives the messages that are given up, expired or dropped. Null: none."""
    visibility_ms: int | None = None
    """Duration of a lease that does not state one. Null: 30 seconds."""
    ttl_ms: int | None = None
    """The queue is deleted after it has been unused for this long. Null: it is never deleted."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""
    message_ttl_ms: int | None = None
    """A message that arrives expires after this long in the inbox, or at its own `expires_at` if
    that is earlier. Null: only at its own."""
    declared: str | None = None
    """Text that is kept with the options, such as how a client declared the queue. Null: none."""
    only_new: bool = False
    """True: no effect on a queue that has any option already; the first declaration wins."""
    dead_letter_group: str | None = None
    """Group, or @ and a queue, that receives them if `dead_letter` is null. Null: none."""
    dead_letter_keyed: bool = False
    """True: the routing key of the message is appended to `dead_letter_group`; a message that no
    AMQP client sent has the name of its group or queue as its key."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes the queue: its deliveries, bindings, session and options."""

    queue: str
    """Queue id. Key of the Kafka record."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A competing consumer takes deliveries.

    Nobody else receives them until the lease ends.
    """

    queue: str
    """Queue id. Key of the Kafka record."""
    consumer: str = ""
    """Id of the consumer, shown with the deliveries that it holds."""
    limit: int = 1
    """Most deliveries to take."""
    visibility_ms: int | None = None
    """Duration of the lease. Null: as the queue's options say."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Level:
    """From here on the records of this partition are folded with this level of the folds.

    `streams upgrade --finish` appends it to each partition of both topics. The key hashes to the
    partition.
    """

    level: int
    """The level. A lower one than the partition has changes nothing."""
    log: int
    """Number of the log that the record was written to, from Kafka's id of the topic."""
    at: int = 0
    """When the command created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to a group.

    Every queue bound to the group at this offset of the log receives it.
    """

    id: str
    """Message id. A group drops a message whose sender has used the id within the last ten
    minutes, so a retry with the same id is safe. Generated if absent."""
    group: str
    """Group id, or @ followed by a queue id for a direct message. Key of the Kafka record."""
    sender: str
    """Id of the sender, as the publisher states it. Empty: the subject of the token, if there is
    one."""
    kind: str = "text"
    """Tells readers how to interpret the body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Application headers."""
    body: bytes = b""
    """Content of the message."""
    at: int = 0
    """In the log: when the publisher created the message. In an inbox: the log time at which it
    was routed."""
    expires_at: int | None = None
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
    priority: int = 4
    """Competing consumers receive higher priorities first."""
    origin: Origin | None = None
    """Set only by the deliver fold, if it requested this event."""


@dataclass(frozen=True, slots=True)
class Nack:
    """The consumer has not processed these deliveries."""

    queue: str
    """Queue id. Key of the Kafka record."""
    seqs: tuple[int, ...] = ()
    """The deliveries."""
    outcome: str = "retry"
    """retry: deliver again after the delay. reject: give up. extend: the lease lasts for the delay
    from now."""
    delay_ms: int = 0
    """Delay before a retry, or the new duration of the lease."""
    consumer: str | None = None
    """Only deliveries leased by this consumer. Null: any."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Open:
    """Opens a session of the queue.

    A session that is already open ends.
    """

    queue: str
    """Queue id. Key of the Kafka record."""
    session: str
    """Session id."""
    groups: tuple[str, ...] = ()
    """Groups to bind the queue to until the session ends."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""
    ttl_ms: int | None = None
    """The session closes after this long without a heartbeat. Null: it stays open until it is
    closed."""
    presence: bool = True
    """True: the group `presence:<queue>` is told when the queue goes online or offline."""


@dataclass(frozen=True, slots=True)
class Purge:
    """Drops all deliveries of the queue."""

    queue: str
    """Queue id. Key of the Kafka record."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Routed:
    """Output of the route fold for the queues of one partition, as columns.

    Changes of bindings (change_*) and deliveries (delivery_*) are each sorted by origin (source
    partition, offset, part). A column of ids is a single byte string, because that is many times
    faster to write and read than one string per id.
    """

    source: int
    """Partition of group-events that all entries come from."""
    change_offsets: tuple[int, ...] = ()
    """Offset in group-events of each change."""
    change_kinds: bytes = b""
    """One byte per change: 1 bound, 0 unbound."""
    change_groups: tuple[str, ...] = ()
    """Group of each change: ids in UTF-8, each followed by a NUL."""
    change_queues: tuple[str, ...] = ()
    """Queue of each change, in the same form."""
    change_sessions: tuple[str, ...] = ()
    """Session of each binding, in the same form. Empty for a permanent binding."""
    delivery_offsets: tuple[int, ...] = ()
    """Offset in group-events of each delivered message."""
    delivery_parts: tuple[int, ...] = ()
    """Number of this entry, from 0, among the entries of its message for this partition."""
    delivery_messages: tuple[bytes, ...] = ()
    """Message records in single-object encoding; `at` is the log time."""
    delivery_queues: tuple[tuple[str, ...], ...] = ()
    """Queues that receive each message: ids in UTF-8, each followed by a NUL."""
    lane: int = 0
    """1 for messages to large groups, which are routed step by step; 0 for everything else.
    Origins are in order within a lane."""
    log: int = 0
    """Number of the log group-events that all entries come from, from Kafka's id of the topic. 0:
    written by version 0.1, which knew no numbers."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: the partition does what is due at the time of this record.

    The key hashes to the partition.
    """

    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Touch:
    """A heartbeat: the session is alive, or the queue is read."""

    queue: str
    """Queue id. Key of the Kafka record."""
    session: str
    """Session id. Empty, from the worker that owns the queue: a reader is alive."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""


@dataclass(frozen=True, slots=True)
class Unbind:
    """Removes a binding: from this offset on, the queue no longer gets the group's messages."""

    group: str
    """Group id. Key of the Kafka record."""
    queue: str
    """Queue id."""
    session: str | None = None
    """Remove the binding only if it belongs to this session. Null: remove it in any case."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""
    origin: Origin | None = None
    """Set only by the deliver fold, if it requested this event."""


@dataclass(frozen=True, slots=True)
class UnbindPattern:
    """Removes a pattern from a binding, and the binding with its last pattern."""

    group: str
    """Group id. Key of the Kafka record."""
    queue: str
    """Queue id."""
    pattern: str
    """The pattern, as it was bound."""
    at: int = 0
    """When the client created the event. Folds use the time of the Kafka record instead."""
    origin: Origin | None = None
    """Set only by the route fold, if it forwarded this event after a rescale."""


GroupEvent = Bind | BindPattern | Message | Unbind | UnbindPattern
"""An event of one group."""
QueueEvent = Ack | Close | Configure | Delete | Lease | Nack | Open | Purge | Touch
"""An event of one queue."""

Event = GroupEvent | QueueEvent | Level | Routed | Tick

EVENTS: tuple[type[Event], ...] = (
    Ack,
    Bind,
    BindPattern,
    Close,
    Configure,
    Delete,
    Lease,
    Level,
    Message,
    Nack,
    Open,
    Purge,
    Routed,
    Tick,
    Touch,
    Unbind,
    UnbindPattern,
)
