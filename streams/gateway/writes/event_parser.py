"""From what a client sends to the events that go into the logs.

One function for each kind of event, used by its own endpoint and by `/v1/events` alike.
Everything is checked here, so that no fold ever has to refuse what HTTP accepted.  Knows
the records and their topics; knows nothing of HTTP, and sends nothing.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from streams.errors import TooLarge
from streams.events.codec import encode
from streams.events.records import (
    MAX_PRIORITY,
    MAX_RECORD,
    NORMAL_PRIORITY,
    Ack,
    Bind,
    Close,
    Configure,
    Delete,
    Event,
    Lease,
    Message,
    Nack,
    Open,
    Purge,
    QueueEvent,
    Touch,
    Unbind,
)
from streams.folds.jobs import EXTEND, MAX_DELAY_MS, MAX_LEASED, MAX_NACKED, OUTCOMES, RETRY
from streams.folds.options import (
    DROP_OLDEST,
    MAX_COUNT,
    MAX_TRIES,
    MAX_TTL_MS,
    MAX_VISIBILITY_MS,
    OVERFLOWS,
)
from streams.gateway.http import fields as f
from streams.gateway.http.errors import bad_request
from streams.gateway.ports import RecordToSend
from streams.ids import DIRECT, direct_group
from streams.security.permissions import Permissions
from streams.settings import Settings

MAX_VALUE = MAX_RECORD - 4096
"""Largest value of a record: with key and headers it must still fit."""


@dataclass(frozen=True, slots=True)
class EventParser:
    """Makes records out of checked fields, all with the same idea of topics and limits."""

    settings: Settings
    permissions: Permissions
    """What the client may do: each event is checked against it, however it came."""

    @property
    def request_limit(self) -> int:
        """Longest JSON text of one event, in bytes: six for each of a body all escaped."""
        return 6 * self.settings.max_body_bytes + 128 * 1024

    def bind(self, group: str, queue: str, session: str | None = None) -> RecordToSend:
        """Make a Bind."""
        _check_bindable(group)
        self.permissions.check_binding(group, queue)
        return self._of_group(group, Bind(group, queue, session, at=_now()))

    def unbind(self, group: str, queue: str, session: str | None = None) -> RecordToSend:
        """Make an Unbind."""
        _check_bindable(group)
        self.permissions.check_binding(group, queue)
        return self._of_group(group, Unbind(group, queue, session, at=_now()))

    def addressed_message(self, content: f.Fields) -> RecordToSend:
        """Make a Message whose fields say where it goes: to a `group` or a `queue`.

        Raises:
            HTTPError: 400 or 413, a field is wrong, missing or unknown.
        """
        if ("group" in content) == ("queue" in content):
            raise bad_request("bad_field", "give either group or queue")
        if "group" in content:
            group = f.take_destination(content, "group")
        else:
            group = direct_group(f.take_id(content, "queue"))
        return self.message(group, content)

    def message(self, group: str, content: f.Fields) -> RecordToSend:
        """Make a Message to a group out of the fields of a request.

        Raises:
            HTTPError: 400 or 413, a field is wrong, missing or unknown.
        """
        self.permissions.check_publish(group)
        body = f.take_body(content, self.settings.max_body_bytes)
        message = Message(
            id=f.take_optional_id(content, "id") or new_message_id(),
            group=group,
            sender=self.permissions.sender(f.take_optional_id(content, "sender")),
            kind=f.take_optional_id(content, "kind") or "text",
            headers=f.take_headers(content),
            body=body,
            at=_now(),
            expires_at=f.take_optional_long(content, "expires_at"),
            persistent=f.take_flag(content, "persistent", True),
            echo=f.take_flag(content, "echo", True),
            receipt=f.take_flag(content, "receipt", False),
            priority=_priority(content),
        )
        f.refuse_rest(content)
        if message.receipt and not message.sender:
            raise bad_request("bad_field", "a receipt needs a sender: the queue that gets it")
        return self._of_group(group, message)

    def check_replay(self, queue: str) -> None:
        """See that the past may be replayed into a queue: one's own.

        Raises:
            Forbidden: no.
        """
        self.permissions.check_queue(queue)

    def replayed(
        self, queue: str, partition: int, offset: int, at: int, message: Message
    ) -> RecordToSend:
        """Make the Message that delivers to a queue what a group had at a place of the log.

        The id is that of the place, so that what is replayed twice is delivered once.
        """
        self.check_replay(queue)
        group = direct_group(queue)
        headers = {
            **message.headers,
            "replay-group": message.group,
            "replay-id": message.id,
            "replay-offset": str(offset),
            "replay-at": str(at),
        }
        copy = replace(
            message,
            id=f"replay-{partition}-{offset}",
            group=group,
            headers=headers,
            at=_now(),
            echo=True,
            receipt=False,
            origin=None,
        )
        return self._of_group(group, copy)

    def ack(self, queue: str, content: f.Fields) -> RecordToSend:
        """Make an Ack out of the fields of a request.

        Raises:
            HTTPError: 400, a field is wrong, missing or unknown.
        """
        upto = f.take_optional_long(content, "upto")
        seqs = f.take_longs(content, "seqs")
        f.refuse_rest(content)
        if (upto is None) == (not seqs):
            raise bad_request("bad_field", "give either upto (a seq) or seqs (a list of seqs)")
        return self._of_queue(queue, Ack(queue, upto, tuple(seqs), at=_now()))

    def open(self, queue: str, session: str, content: f.Fields) -> RecordToSend:
        """Make an Open out of the fields of a request.

        Raises:
            HTTPError: 400, a field is wrong or unknown.
        """
        groups = f.take_ids(content, "groups")
        ttl_ms = f.take_optional_seconds(content, "ttl_seconds", MAX_TTL_MS)
        presence = f.take_flag(content, "presence", True)
        f.refuse_rest(content)
        for group in groups:
            _check_bindable(group)
            self.permissions.check_group(group)
        return self._of_queue(queue, Open(queue, session, tuple(groups), _now(), ttl_ms, presence))

    def touch(self, queue: str, session: str) -> RecordToSend:
        """Make a Touch."""
        return self._of_queue(queue, Touch(queue, session, at=_now()))

    def close(self, queue: str, session: str) -> RecordToSend:
        """Make a Close."""
        return self._of_queue(queue, Close(queue, session, at=_now()))

    def configure(self, queue: str, content: f.Fields) -> RecordToSend:
        """Make a Configure out of the fields of a request; what is absent is not limited.

        Raises:
            HTTPError: 400, a field is wrong or unknown.
        """
        event = Configure(
            queue,
            max_length=f.take_optional_count(content, "max_length", 1, MAX_COUNT),
            max_bytes=f.take_optional_count(content, "max_bytes", 1, MAX_COUNT),
            overflow=f.take_choice(content, "overflow", OVERFLOWS, DROP_OLDEST),
            max_tries=f.take_optional_count(content, "max_tries", 1, MAX_TRIES),
            dead_letter=f.take_optional_id(content, "dead_letter"),
            visibility_ms=f.take_optional_seconds(content, "visibility_seconds", MAX_VISIBILITY_MS),
            ttl_ms=f.take_optional_seconds(content, "ttl_seconds", MAX_TTL_MS),
            at=_now(),
        )
        f.refuse_rest(content)
        if event.dead_letter == queue:
            raise bad_request("bad_field", "a queue cannot be its own dead_letter")
        return self._of_queue(queue, event)

    def lease(self, queue: str, content: f.Fields) -> RecordToSend:
        """Make a Lease out of the fields of a request.

        Raises:
            HTTPError: 400, a field is wrong or unknown.
        """
        limit = f.take_optional_count(content, "limit", 1, MAX_LEASED)
        visibility_ms = f.take_optional_seconds(content, "visibility_seconds", MAX_VISIBILITY_MS)
        consumer = f.take_optional_id(content, "consumer")
        f.refuse_rest(content)
        return self._of_queue(
            queue, Lease(queue, consumer or "", limit or 1, visibility_ms, _now())
        )

    def nack(self, queue: str, content: f.Fields) -> RecordToSend:
        """Make a Nack out of the fields of a request.

        Raises:
            HTTPError: 400, a field is wrong, missing or unknown.
        """
        seqs = f.take_longs(content, "seqs")
        outcome = f.take_choice(content, "outcome", OUTCOMES, RETRY)
        delay_ms = f.take_optional_seconds(content, "delay_seconds", MAX_DELAY_MS, 0)
        consumer = f.take_optional_id(content, "consumer")
        f.refuse_rest(content)
        if not 1 <= len(seqs) <= MAX_NACKED:
            raise bad_request("bad_field", f"seqs must be a list of 1 to {MAX_NACKED} seqs")
        if outcome == EXTEND and not delay_ms:
            raise bad_request("bad_field", "to extend a lease, say for how long: delay_seconds")
        return self._of_queue(
            queue, Nack(queue, tuple(seqs), outcome, delay_ms or 0, consumer, _now())
        )

    def purge(self, queue: str) -> RecordToSend:
        """Make a Purge."""
        return self._of_queue(queue, Purge(queue, at=_now()))

    def delete(self, queue: str) -> RecordToSend:
        """Make a Delete."""
        return self._of_queue(queue, Delete(queue, at=_now()))

    def line(self, content: f.Fields) -> RecordToSend:
        """Make any of these out of one line of `/v1/events`.

        Raises:
            HTTPError: 400 or 413, the type or a field is wrong, missing or unknown.
        """
        kind = content.pop("type", None)
        make = _LINES.get(kind) if isinstance(kind, str) else None
        if make is None:
            raise bad_request("bad_field", f"type must be one of {', '.join(_LINES)}")
        return make(self, content)

    def _of_group(self, group: str, event: Bind | Unbind | Message) -> RecordToSend:
        return _record(self.settings.group_events, group, event)

    def _of_queue(self, queue: str, event: QueueEvent) -> RecordToSend:
        self.permissions.check_queue(queue)
        if isinstance(event, Configure) and event.dead_letter is not None:
            # What a consumer rejects goes there: as good as sending it.
            self.permissions.check_publish(direct_group(event.dead_letter))
        return _record(self.settings.queue_events, queue, event)


def _bind_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    return parser.bind(*_binding(content))


def _unbind_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    return parser.unbind(*_binding(content))


def _binding(content: f.Fields) -> tuple[str, str, str | None]:
    group, queue = f.take_id(content, "group"), f.take_id(content, "queue")
    session = f.take_optional_id(content, "session")
    f.refuse_rest(content)
    return group, queue, session


def _ack_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    return parser.ack(f.take_id(content, "queue"), content)


def _open_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    queue, session = f.take_id(content, "queue"), f.take_id(content, "session")
    return parser.open(queue, session, content)


def _close_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    queue, session = f.take_id(content, "queue"), f.take_id(content, "session")
    f.refuse_rest(content)
    return parser.close(queue, session)


def _touch_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    queue, session = f.take_id(content, "queue"), f.take_id(content, "session")
    f.refuse_rest(content)
    return parser.touch(queue, session)


def _nack_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    return parser.nack(f.take_id(content, "queue"), content)


def _configure_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    return parser.configure(f.take_id(content, "queue"), content)


def _purge_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    queue = f.take_id(content, "queue")
    f.refuse_rest(content)
    return parser.purge(queue)


def _delete_line(parser: EventParser, content: f.Fields) -> RecordToSend:
    queue = f.take_id(content, "queue")
    f.refuse_rest(content)
    return parser.delete(queue)


def _priority(content: f.Fields) -> int:
    priority = f.take_optional_count(content, "priority", 0, MAX_PRIORITY)
    return NORMAL_PRIORITY if priority is None else priority


_LINES: dict[str, Callable[[EventParser, f.Fields], RecordToSend]] = {
    "bind": _bind_line,
    "unbind": _unbind_line,
    "message": EventParser.addressed_message,
    "ack": _ack_line,
    "open": _open_line,
    "close": _close_line,
    "touch": _touch_line,
    "nack": _nack_line,
    "configure": _configure_line,
    "purge": _purge_line,
    "delete": _delete_line,
}
EVENT_TYPES = tuple(_LINES)
"""What `type` may say, in a line of `/v1/events` and on a stream."""


def _record(topic: str, key: str, event: Event) -> RecordToSend:
    value = encode(event)
    if len(value) > MAX_VALUE:
        raise TooLarge(f"an event of {len(value)} bytes is over the limit of {MAX_VALUE}")
    message_id = event.id if isinstance(event, Message) else ""
    return RecordToSend(topic, key.encode(), value, type(event).__name__, message_id)


def new_message_id() -> str:
    """Return a new id that sorts by time: UUID version 7 (RFC 9562, section 5.7)."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def _now() -> int:
    return time.time_ns() // 1_000_000


def _check_bindable(group: str) -> None:
    if group.startswith(DIRECT):
        raise bad_request(
            "bad_id", f"group begins with {DIRECT}: it stands for one queue, never bound"
        )
