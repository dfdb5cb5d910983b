"""The file of an export: one Avro object container, whose records are the entries.

Each record has one field, `entry`, which is one of the record types in `KINDS`.  The first entry is
a Start, the last one an End with the number of all others, so that a file that was cut off is
recognized.  Each block but the first begins with a Sum of all bytes before it, so that nothing is
used of a block with a wrong bit.  `container` writes and reads such files.
"""

from __future__ import annotations

from typing import Any, Final

from streams.events import schema

FORMAT: Final = 1
"""Version of the file's meaning; a change that Avro's schema resolution covers keeps it."""
NAMESPACE: Final = "streams.export.v1"

Entry = tuple[str, dict[str, Any]]
"""Name of a record type, and its fields."""

START: Final = "Start"
BINDING: Final = "Binding"
MESSAGE_ID: Final = "MessageId"
SESSION: Final = "Session"
CLOSED_SESSION: Final = "ClosedSession"
OPTIONS: Final = "Options"
DELIVERY: Final = "Delivery"
SUM: Final = "Sum"
END: Final = "End"

_TEXT_OR_NULL: Final = ["null", "string"]
_LONGS: Final = {"type": "array", "items": "long"}


def _field(name: str, kind: Any, doc: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "doc": doc}


RECEIVER: Final = {
    "type": "record",
    "name": "Receiver",
    "doc": "One inbox that holds the message.",
    "fields": [
        _field("queue", "string", "Queue id."),
        _field("seq", "long", "Place in the queue; readers and acks name it."),
        _field("held", "boolean", "Not in the inbox: it returns with a new seq at `until`."),
        _field("available", "boolean", "A Lease may get it now. Only in a queue of jobs."),
        _field("tries", "int", "How often it was leased or came back."),
        _field("until", "long", "End of its lease or delay (ms since the epoch); 0 for none."),
        _field("leased", "boolean", "A consumer has it."),
        _field("consumer", "string", "The consumer that leased it last."),
        _field("expires_at", "long", "When it expires here (ms since the epoch); 0: never."),
    ],
}


def _kinds() -> list[dict[str, Any]]:
    root = schema.folder()
    message, configure = (schema.current(root, name).plain for name in ("Message", "Configure"))
    kinds: list[tuple[str, str, list[dict[str, Any]]]] = [
        (
            START,
            "What was exported, and from where. The first entry.",
            [
                _field("format", "int", "Version of this file's meaning."),
                _field("id", "string", "A UUID: names this export."),
                _field("at", "long", "When it was made (ms since the epoch)."),
                _field("namespace", "string", "Namespace that was exported; may be empty."),
                _field("partitions", "int", "Its number of partitions."),
                _field("group_offsets", _LONGS, "Its place in each partition of group-events."),
                _field("queue_offsets", _LONGS, "Its place in each partition of queue-events."),
                _field("seq_base", "long", "All seqs are less than 4096 times this number."),
                _field("level", "int", "Level of the folds; see Upgrade."),
                _field("log_time", "long", "Highest time of a message (ms since the epoch)."),
                _field(
                    "unnamed_until",
                    ["null", "long"],
                    "Until then, remembered message ids may lack their sender. Null: none does.",
                ),
                _field("groups", {"type": "array", "items": "string"}, "Patterns; empty: all."),
                _field("queues", {"type": "array", "items": "string"}, "Patterns; empty: all."),
            ],
        ),
        (
            BINDING,
            "A queue receives what is sent to a group.",
            [
                _field("group", "string", "Group id."),
                _field("queue", "string", "Queue id."),
                _field("session", _TEXT_OR_NULL, "Session that it ends with; null: permanent."),
                _field(
                    "covered",
                    {"type": "array", "items": "string"},
                    "Sessions whose binding this one covers, the latest last.",
                ),
                {
                    **_field(
                        "patterns",
                        {"type": "array", "items": "string"},
                        "The queue receives what matches one of them; none: every message.",
                    ),
                    "default": [],
                },
            ],
        ),
        (
            MESSAGE_ID,
            "An id that was used in a group within ten minutes before `log_time`.",
            [
                _field("group", "string", "Group id; `@` and a queue id for a single queue."),
                _field("id", "string", "Message id."),
                _field(
                    "sender",
                    ["null", "bytes"],
                    "Its sender in UTF-8; the SHA-256 of a sender of more than 255 bytes. Null: "
                    "version 0.1 kept none.",
                ),
                _field("at", "long", "Time of the message (ms since the epoch)."),
            ],
        ),
        (
            SESSION,
            "The open session of a queue.",
            [
                _field("queue", "string", "Queue id."),
                _field("session", "string", "Session id."),
                _field("presence", "boolean", "Whether its presence is announced."),
                _field("ttl_ms", "long", "Milliseconds without a heartbeat that end it; 0: never."),
                _field("heard_at", "long", "Time of its last heartbeat (ms since the epoch)."),
                _field("due_at", "long", "When its timer is due (ms since the epoch); 0: never."),
            ],
        ),
        (
            CLOSED_SESSION,
            "A session that was closed with many others; its bindings are dropped next.",
            [
                _field("queue", "string", "Queue id."),
                _field("session", "string", "Session id."),
                _field("closed_at", "long", "When it was closed (ms since the epoch)."),
            ],
        ),
        (
            OPTIONS,
            "A queue with options, or one that a Lease has made a queue of jobs.",
            [
                _field("options", configure, "The event that set them."),
                _field("length", "long", "Deliveries in the queue, including held ones."),
                _field("bytes", "long", "Bytes of their messages."),
                _field("used_at", "long", "When it was last used (ms since the epoch)."),
                _field("due_at", "long", "When its timer is due (ms since the epoch); 0: never."),
                _field("jobs", "boolean", "Consumers compete for its deliveries."),
            ],
        ),
        (
            DELIVERY,
            "A message and the inboxes that hold it: one, or several that share a large message.",
            [
                _field(
                    "message",
                    [message, "bytes"],
                    "The message. Bytes: in single-object encoding with an older schema.",
                ),
                _field("receivers", {"type": "array", "items": RECEIVER}, "The inboxes."),
            ],
        ),
        (
            SUM,
            "A checksum. The first entry of each block of the container but the first.",
            [_field("crc32", "long", "CRC-32 of all bytes of the file before the block.")],
        ),
        (
            END,
            "The file is complete. The last entry.",
            [
                _field(
                    "counts",
                    {"type": "map", "values": "long"},
                    "Other entries, by type; no Sums.",
                )
            ],
        ),
    ]
    return [
        {"type": "record", "name": name, "doc": doc, "fields": fields}
        for name, doc, fields in kinds
    ]


KINDS: Final = _kinds()
SCHEMA: Final = {
    "type": "record",
    "name": "Entry",
    "namespace": NAMESPACE,
    "doc": "One entry of an export of Streams.",
    "fields": [{"name": "entry", "type": KINDS}],
}
