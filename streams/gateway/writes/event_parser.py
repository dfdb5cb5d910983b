"""Makes encoded events out of what clients send.

Each event is checked here, both its fields and whether the client may send it, so that no
fold has to refuse what HTTP accepted.  The checks of single fields come from the events'
definitions (`request_fields`).  Knows the events and their topics, not HTTP; sends nothing.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, replace
from typing import Any, Final

from streams.errors import TooLarge
from streams.events.codec import MAX_RECORD, encode, encode_values
from streams.events.definitions import definitions, snake
from streams.events.records import Message
from streams.folds.jobs import EXTEND
from streams.folds.patterns import MAX_KEY_BYTES, ROUTING_KEY
from streams.gateway.http import fields as f
from streams.gateway.http.errors import bad_request
from streams.gateway.ports import RecordToSend
from streams.gateway.writes.request_fields import refuse_equal, take_all, take_path
from streams.ids import direct_group
from streams.security.patterns import ANY
from streams.security.permissions import Permissions
from streams.settings import Settings

MAX_VALUE: Final = MAX_RECORD - 4096
"""Largest value of a record: key and headers need the rest."""

_BATCH: Final = {
    snake(definition.name): definition.name
    for definition in definitions().values()
    if definition.batch
}
EVENT_TYPES: Final = tuple(_BATCH)
"""The values of `type` in a line of `/v1/events` and on a stream."""
BIND_EVENTS: Final = 2
"""What a binding counts: the Bind, and the Unbind at its end."""
RECEIPT_EVENTS: Final = 2
"""What a message counts that asks for receipts: itself, and a receipt."""


@dataclass(frozen=True, slots=True)
class EventParser:
    """Makes the events of one client.

    Every method raises HTTPError (400 or 413) if a field is wrong, missing or unknown,
    Forbidden if the client lacks the permission, and TooLarge if the event is too large.
    """

    settings: Settings
    permissions: Permissions

    @property
    def request_limit(self) -> int:
        """Largest JSON text of one event in bytes: a body with every byte escaped takes six."""
        return 6 * self.settings.max_body_bytes + 128 * 1024

    def bind(self, group: str, queue: str) -> RecordToSend:
        """Make a Bind of a permanent binding."""
        return self._record("Bind", {"group": f.group_of("group", group), "queue": queue})

    def unbind(self, group: str, queue: str) -> RecordToSend:
        """Make an Unbind that removes the binding of any session."""
        return self._record("Unbind", {"group": f.group_of("group", group), "queue": queue})

    def bind_pattern(self, group: str, queue: str, pattern: str) -> RecordToSend:
        """Make a BindPattern, which adds a pattern to a permanent binding."""
        return self._pattern("BindPattern", group, queue, pattern)

    def unbind_pattern(self, group: str, queue: str, pattern: str) -> RecordToSend:
        """Make an UnbindPattern, which removes one pattern."""
        return self._pattern("UnbindPattern", group, queue, pattern)

    def _pattern(self, name: str, group: str, queue: str, pattern: str) -> RecordToSend:
        found = f.pattern_of("pattern", pattern)
        ids = {"group": f.group_of("group", group), "queue": queue}
        return self._record(name, {**ids, "pattern": found})

    def addressed_message(self, content: f.Fields) -> RecordToSend:
        """Make a Message from fields that include its destination: `group` or `queue`."""
        if ("group" in content) == ("queue" in content):
            raise bad_request("bad_field", "give either group or queue")
        if "group" in content:
            group = f.take_destination(content, "group")
        else:
            group = direct_group(f.take_id(content, "queue"))
        return self.message(group, content)

    def message(self, group: str, content: f.Fields) -> RecordToSend:
        """Make a Message to a group."""
        self.permissions.check_publish(group)
        body = f.take_body(content, self.settings.max_body_bytes)
        values = take_all("Message", content)
        key = values.get("headers", {}).get(ROUTING_KEY, "")
        if len(key.encode()) > MAX_KEY_BYTES:
            raise bad_request(
                "bad_field", f"the header {ROUTING_KEY} is longer than {MAX_KEY_BYTES} bytes"
            )
        values["id"] = values.get("id") or new_message_id()
        values["sender"] = self.permissions.sender(values.get("sender"))
        if values.get("receipt") and not values["sender"]:
            raise bad_request("bad_field", "a receipt needs a sender: the queue that gets it")
        return self._record("Message", {"group": group, "body": body, **values})

    def check_replay(self, queue: str) -> None:
        """Check that the client may replay the past into a queue.

        Raises:
            Forbidden: the client may not read the queue.
        """
        self.permissions.check_queue(queue)

    def replayed(
        self, queue: str, partition: int, offset: int, at: int, message: Message
    ) -> RecordToSend:
        """Make the Message that delivers an earlier message of a group to a queue.

        Its id names the offset, so that a message replayed twice is delivered once.
        """
        self.check_replay(queue)
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
            group=direct_group(queue),
            headers=headers,
            at=_now(),
            echo=True,
            receipt=False,
            origin=None,
        )
        return _encoded(self.settings.group_events, copy.group, "Message", encode(copy), copy.id)

    def ack(self, queue: str, content: f.Fields) -> RecordToSend:
        """Make an Ack."""
        return self._record("Ack", {"queue": queue, **take_all("Ack", content)})

    def open(self, queue: str, session: str, content: f.Fields) -> RecordToSend:
        """Make an Open."""
        values = take_all("Open", content)
        return self._record("Open", {"queue": queue, "session": session, **values})

    def touch(self, queue: str, session: str) -> RecordToSend:
        """Make a Touch."""
        return self._record("Touch", {"queue": queue, "session": session})

    def close(self, queue: str, session: str) -> RecordToSend:
        """Make a Close."""
        return self._record("Close", {"queue": queue, "session": session})

    def configure(self, queue: str, content: f.Fields) -> RecordToSend:
        """Make a Configure; options that are absent get their defaults."""
        return self._record("Configure", {"queue": queue, **take_all("Configure", content)})

    def lease(self, queue: str, content: f.Fields) -> RecordToSend:
        """Make a Lease."""
        return self._record("Lease", {"queue": queue, **take_all("Lease", content)})

    def nack(self, queue: str, content: f.Fields) -> RecordToSend:
        """Make a Nack."""
        return self._record("Nack", {"queue": queue, **take_all("Nack", content)})

    def purge(self, queue: str) -> RecordToSend:
        """Make a Purge."""
        return self._record("Purge", {"queue": queue})

    def delete(self, queue: str) -> RecordToSend:
        """Make a Delete."""
        return self._record("Delete", {"queue": queue})

    def line(self, content: f.Fields) -> RecordToSend:
        """Make any event from one line of `/v1/events`."""
        kind = content.pop("type", None)
        name = _BATCH.get(kind) if isinstance(kind, str) else None
        if name is None:
            raise bad_request("bad_field", f"type must be one of {', '.join(EVENT_TYPES)}")
        if name == "Message":
            return self.addressed_message(content)
        path = take_path(name, content)
        return self._record(name, {**path, **take_all(name, content)})

    def _record(self, name: str, values: dict[str, Any]) -> RecordToSend:
        """Check permissions and what concerns several fields; then encode the event.

        Fields that are not given are encoded with their defaults.
        """
        topic, message_id = self.settings.queue_events, ""
        if name == "Message":  # its permissions are checked by the caller
            topic, key, message_id = self.settings.group_events, values["group"], values["id"]
        elif name in ("Bind", "BindPattern", "Unbind", "UnbindPattern"):
            topic, key = self.settings.group_events, values["group"]
            self.permissions.check_binding(key, values["queue"])
        else:
            key = values["queue"]
            self.permissions.check_queue(key)
            if name in ("Open", "Configure", "Nack"):
                self._check_fields(name, values)
        values["at"] = _now()
        record = _encoded(
            topic, key, name, encode_values(name, values), message_id, _caused(name, values)
        )
        seq = _highest_seq(values) if name in ("Ack", "Nack") else 0
        return record._replace(seq=seq) if seq else record

    def _check_fields(self, name: str, values: dict[str, Any]) -> None:
        refuse_equal(name, values)
        if name == "Open":
            for group in values.get("groups", ()):
                self.permissions.check_group(group)
        elif name == "Configure":
            target = values.get("dead_letter")
            if target is not None:
                # A message that a consumer rejects goes there, as if the client had sent it.
                self.permissions.check_publish(direct_group(target))
            group = values.get("dead_letter_group")
            if group is not None:  # with keys: to all groups that begin so
                self.permissions.check_publish(
                    group + ANY if values.get("dead_letter_keyed") else group
                )
        elif values.get("outcome") == EXTEND and not values.get("delay_ms"):
            raise bad_request("bad_field", "to extend a lease, say for how long: delay_seconds")


def _caused(name: str, values: dict[str, Any]) -> int:
    """Return how many events one event causes, itself included.

    The end of a binding counts when the binding is made, whoever or whatever ends it later: an
    Unbind, a Close, a Delete, another session or a TTL.  A delivery does not count,
    nor do the receipts of more queues than one.
    """
    if name in ("Bind", "BindPattern"):
        return BIND_EVENTS
    if name == "Open":
        return 1 + BIND_EVENTS * len(values.get("groups", ()))  # a Bind and an Unbind for each
    if name == "Message" and values.get("receipt"):
        return RECEIPT_EVENTS
    if name == "Nack" and values.get("outcome") != EXTEND:
        # A dead letter for each, at the latest after `max_tries`.
        return max(1, len(values["seqs"]))
    return 1


def _highest_seq(values: dict[str, Any]) -> int:
    return max(values.get("upto") or 0, max(values.get("seqs", ()), default=0))


def _encoded(
    topic: str, key: str, name: str, value: bytes, message_id: str, events: int = 1
) -> RecordToSend:
    if len(value) > MAX_VALUE:
        raise TooLarge(f"an event of {len(value)} bytes is over the limit of {MAX_VALUE}")
    return RecordToSend(topic, key.encode(), value, name, message_id, events)


def new_message_id() -> str:
    """Return a new id that sorts by time: UUID version 7 (RFC 9562, section 5.7)."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def _now() -> int:
    return time.time_ns() // 1_000_000
