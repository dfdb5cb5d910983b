"""The schemas that the operations speak of: JSON Schema, as OpenAPI 3.1 has it.

Plain data; a schema is referred to by its name with `ref`.
"""

from __future__ import annotations

from typing import Any

from streams.events.records import MAX_PRIORITY
from streams.folds.jobs import MAX_DELAY_MS, MAX_LEASED, MAX_NACKED, OUTCOMES
from streams.folds.options import MAX_TRIES, MAX_TTL_MS, MAX_VISIBILITY_MS, OVERFLOWS
from streams.gateway.http.fields import MAX_LONG
from streams.ids import MAX_ID_BYTES

Schema = dict[str, Any]

_NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f]+$"


def ref(name: str) -> Schema:
    """Return a reference to a schema of this module."""
    return {"$ref": f"#/components/schemas/{name}"}


def obj(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Return the schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def an_array(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    """Return a schema that also allows null."""
    return {"anyOf": [schema, {"type": "null"}]}


def _either(schema: Schema, alternatives: dict[str, Schema]) -> Schema:
    """Return a schema of an object that has one of these fields; null is as good as absent."""
    absent = {"type": "null"}
    properties = {name: {"anyOf": [_loose(field), absent]} for name, field in alternatives.items()}
    return {
        **schema,
        "properties": {**properties, **schema["properties"]},
        "oneOf": [
            {"required": [name], "properties": {name: field}}
            for name, field in alternatives.items()
        ],
    }


def _loose(schema: Schema) -> Schema:
    """Return the schema without the least length: an empty list is as good as absent."""
    return {key: value for key, value in schema.items() if key != "minItems"}


ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID_BYTES,
    "pattern": _NO_CONTROL,
    "description": "1 to 255 bytes of UTF-8 without control characters.",
}
LONG: Schema = {"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_LONG}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
MOMENT_IN_JSON: Schema = {"anyOf": [ref("Moment"), COUNT, {"type": "null"}]}
"""An offset may be a number there."""
BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
HEADERS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
MILLISECONDS: Schema = {**LONG, "description": "Milliseconds since the epoch."}
BODY = {"body": TEXT, "body_base64": BASE64}

_POSITIVE: Schema = {**LONG, "minimum": 1}


def _seconds(most_ms: int, least_ms: int = 1) -> Schema:
    return {"type": "number", "minimum": least_ms / 1000, "maximum": most_ms / 1000}


SCHEMAS: dict[str, Schema] = {
    "Id": ID,
    "Seq": {
        **LONG,
        "description": "Place of a delivery in its queue: it only grows, and is the same "
        "whoever answers.",
    },
    "Error": obj({"error": obj({"code": TEXT, "message": TEXT})}),
    "Draft": _either(
        obj(
            {},
            {
                "sender": or_null(ref("Id")),
                "kind": or_null(ref("Id")),
                "headers": or_null(HEADERS),
                "id": {
                    **or_null(ref("Id")),
                    "description": "Give one to send again without harm: a group drops an id "
                    "that it has seen within ten minutes.",
                },
                "expires_at": or_null(MILLISECONDS),
                "persistent": {
                    **FLAG,
                    "description": "False: only for queues with an open session, and gone when "
                    "it ends.",
                },
                "echo": {
                    **FLAG,
                    "description": "False: not for the queue that has the sender's id.",
                },
                "receipt": {
                    **FLAG,
                    "description": "True: the queue that has the sender's id gets a message of "
                    "kind `receipt` when a receiver acknowledges.",
                },
                "priority": {
                    **or_null({"type": "integer", "minimum": 0, "maximum": MAX_PRIORITY}),
                    "description": "Competing consumers get higher ones first; 4 by default.",
                },
            },
        ),
        BODY,
    ),
    "Published": {
        **obj({"id": ref("Id"), "partition": COUNT, "offset": COUNT}),
        "description": "Kafka has it, at this place of the log.",
    },
    "Delivery": {
        "type": "object",
        "properties": {
            "seq": ref("Seq"),
            "id": ref("Id"),
            "group": TEXT,
            "sender": TEXT,
            "kind": TEXT,
            "headers": HEADERS,
            **BODY,
            "at": MILLISECONDS,
            "expires_at": MILLISECONDS,
            "persistent": FLAG,
            "receipt": FLAG,
            "priority": COUNT,
            "tries": {**COUNT, "description": "How often it was leased, or came back."},
            "until": {**LONG, "description": "When its lease or its delay ends."},
            "consumer": {**TEXT, "description": "Who has leased it."},
        },
        "required": ["seq", "id", "group", "sender", "kind", "headers", "at"],
        "oneOf": [{"required": ["body"]}, {"required": ["body_base64"]}],
    },
    "Past": obj(
        {
            "messages": an_array(
                {
                    "type": "object",
                    "properties": {"offset": COUNT, "id": ref("Id"), "at": MILLISECONDS},
                    "required": ["offset", "id", "at"],
                }
            ),
            "next": {**COUNT, "description": "Offset to go on from."},
            "end": {**FLAG, "description": "Whether there was nothing more to read."},
        }
    ),
    "Moment": {
        "type": "string",
        "description": "An offset, or a time as ISO 8601 has it, in UTC where it names no zone.",
        "examples": ["0", "2030-01-31T12:00:00Z"],
    },
    "Replay": obj(
        {"queue": ref("Id")},
        {
            "from": MOMENT_IN_JSON,
            "to": MOMENT_IN_JSON,
            "limit": or_null({"type": "integer", "minimum": 1, "maximum": 1000}),
        },
    ),
    "Replayed": obj({"replayed": COUNT, "next": COUNT, "end": FLAG}),
    "Inbox": obj({"messages": an_array(ref("Delivery"))}),
    "Ack": _either(obj({}), {"upto": ref("Seq"), "seqs": {**an_array(ref("Seq")), "minItems": 1}}),
    "Members": obj({"queues": an_array(ref("Id")), "next": or_null(ref("Id"))}),
    "Bindings": obj({"groups": an_array(ref("Id")), "next": or_null(ref("Id"))}),
    "Queue": {
        "type": "object",
        "properties": {
            "queue": ref("Id"),
            "depth": COUNT,
            "groups": COUNT,
            "session": or_null(ref("Id")),
        },
        "required": ["queue", "depth", "groups", "session"],
    },
    "Session": obj(
        {},
        {
            "groups": or_null(an_array(ref("Id"))),
            "ttl_seconds": {
                **or_null(_seconds(MAX_TTL_MS)),
                "description": "Without a heartbeat for so long, the session is closed.",
            },
            "presence": {
                **FLAG,
                "description": "False: the group `presence:` and the queue's id is not told.",
            },
        },
    ),
    "Options": obj(
        {},
        {
            "max_length": or_null(_POSITIVE),
            "max_bytes": or_null(_POSITIVE),
            "overflow": {
                **or_null({"type": "string", "enum": list(OVERFLOWS)}),
                "description": "What gives way beyond these; reject tells the sender, with a "
                "message of kind `rejected`.",
            },
            "max_tries": or_null({**_POSITIVE, "maximum": MAX_TRIES}),
            "dead_letter": {
                **or_null(ref("Id")),
                "description": "Queue that gets what is given up, expired or dropped.",
            },
            "visibility_seconds": or_null(_seconds(MAX_VISIBILITY_MS)),
            "ttl_seconds": {
                **or_null(_seconds(MAX_TTL_MS)),
                "description": "Unused for so long, the queue is deleted.",
            },
        },
    ),
    "Lease": obj(
        {},
        {
            "limit": or_null({**_POSITIVE, "maximum": MAX_LEASED}),
            "visibility_seconds": or_null(_seconds(MAX_VISIBILITY_MS)),
            "consumer": or_null(ref("Id")),
        },
    ),
    "Nack": obj(
        {"seqs": {**an_array(ref("Seq")), "minItems": 1, "maxItems": MAX_NACKED}},
        {
            "outcome": {
                **or_null({"type": "string", "enum": list(OUTCOMES)}),
                "description": "retry: deliver again after the delay; reject: give up; extend: "
                "the lease lasts for the delay from now.",
            },
            "delay_seconds": or_null(_seconds(MAX_DELAY_MS, 0)),
            "consumer": {
                **or_null(ref("Id")),
                "description": "Only what this consumer has leased.",
            },
        },
    ),
    "Erased": obj(
        {
            "queue": ref("Id"),
            "erased": an_array(TEXT),
            "retained": obj({"hours": or_null({"type": "number"}), "what": TEXT, "until": TEXT}),
        }
    ),
    "Events": obj({"events": COUNT}),
    "Rows": obj(
        {
            "position": COUNT,
            "rows": an_array({"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}),
            "next": or_null(TEXT),
        }
    ),
    "Cluster": {
        "type": "object",
        "properties": {
            "app": TEXT,
            "url": TEXT,
            "rebalancing": FLAG,
            "ready": FLAG,
            "failure": or_null(TEXT),
            "partitions": an_array(
                {
                    "type": "object",
                    "properties": {
                        "table": TEXT,
                        "partition": COUNT,
                        "owner": or_null(TEXT),
                        "state": TEXT,
                        "ready": FLAG,
                        "position": COUNT,
                        "end": COUNT,
                        "lag": COUNT,
                    },
                    "required": ["table", "partition", "owner"],
                }
            ),
        },
        "required": ["app", "url", "partitions"],
    },
    "Status": obj({"status": TEXT}),
}
