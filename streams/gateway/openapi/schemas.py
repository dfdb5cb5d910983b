"""The schemas that the operations speak of: JSON Schema, as OpenAPI 3.1 has it.

Plain data; a schema is referred to by its name with `ref`.
"""

from __future__ import annotations

from typing import Any

from streams.gateway.fields import MAX_LONG
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
BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
HEADERS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
MILLISECONDS: Schema = {**LONG, "description": "Milliseconds since the epoch."}
BODY = {"body": TEXT, "body_base64": BASE64}

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
                "persistent": FLAG,
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
        },
        "required": ["seq", "id", "group", "sender", "kind", "headers", "at"],
        "oneOf": [{"required": ["body"]}, {"required": ["body_base64"]}],
    },
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
    "Session": obj({}, {"groups": or_null(an_array(ref("Id")))}),
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
