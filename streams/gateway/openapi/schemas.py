"""The schemas that the operations speak of: JSON Schema, as OpenAPI 3.1 has it.

Plain data; a schema is referred to by its name with `ref`.
"""

from __future__ import annotations

from typing import Any

from streams.events.definitions import MISSING, Definition, Field, definitions
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
HELD: Schema = {
    **or_null(COUNT),
    "description": "First offset that an open transaction of a producer keeps from being read, if "
    "the range ends there for now; null if none does.",
}
BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
HEADERS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
MILLISECONDS: Schema = {**LONG, "description": "Milliseconds since the epoch."}
HOLD = {
    "offset": COUNT,
    "since": MILLISECONDS,
    "seconds": {"type": "number", "minimum": 0},
}
"""An open transaction: the first offset that it holds, since when, and for how long."""
BODY = {"body": TEXT, "body_base64": BASE64}


def request_schema(definition: Definition) -> Schema:
    """Return the schema of the JSON object that requests an event."""
    fields = [field for field in definition.body_fields if field.type != "bytes"]
    schemas = {field.http_name: _of_request(field) for field in fields}
    choice = {name: schemas.pop(name) for name in definition.one_of}
    required = [field.http_name for field in fields if field.get("minItems")]
    schema = obj(
        {name: schemas[name] for name in required},
        {
            field.http_name: schemas[field.http_name]
            if field.type == "boolean"
            else {**or_null(_bare(schemas[field.http_name])), **_notes(field)}
            for field in fields
            if field.http_name in schemas and field.http_name not in required
        },
    )
    if len(fields) < len(definition.body_fields):
        return _either(schema, BODY)
    if not choice:
        return schema
    return _either(schema, {name: _not_empty(one) for name, one in choice.items()})


def _of_request(field: Field) -> Schema:
    """Return the schema of a field in a request."""
    return {**_value(field), **_notes(field)}


def _value(field: Field) -> Schema:
    """Return the schema of a field's value in a request."""
    low, high = field.request_range
    if field.is_duration:
        return {"type": "number", "minimum": low / 1000, "maximum": high / 1000}
    match field.type:
        case "boolean":
            return FLAG
        case "map":
            return HEADERS
        case "array":
            bounds = {key: field.get(key) for key in ("minItems", "maxItems") if field.get(key)}
            return {**an_array(_item(field)), **bounds}
        case "string":
            if field.format == "id":
                return ref("Id")
            known = ("enum", "maxLength")
            schema = {**TEXT, **{key: field.get(key) for key in known if field.get(key)}}
            if field.get("pattern"):
                schema["pattern"] = f"^(?:{field.get('pattern')})$"
            return schema
        case _ if field.format == "seq":
            return ref("Seq")
        case _:
            wide = {"format": "int64"} if field.type == "long" else {}
            return {"type": "integer", **wide, "minimum": low, "maximum": high}


def _item(field: Field) -> Schema:
    if field.items == "string":
        return ref("Id") if field.format in ("id", "group") else TEXT
    if field.format == "seq":
        return ref("Seq")
    low, high = field.request_range
    return {"type": "integer", "minimum": low, "maximum": high}


def _notes(field: Field) -> Schema:
    """Return the description of a field in a request, and its default."""
    unit = " Milliseconds since the epoch." if field.is_time else ""
    unit = " In seconds." if field.is_duration else unit
    notes: Schema = {"description": field.doc + unit}
    if field.default is not MISSING and field.default is not None:
        notes["default"] = field.default / 1000 if field.is_duration else field.default
    return notes


def _bare(schema: Schema) -> Schema:
    """Return a schema without its description and default."""
    return {key: one for key, one in schema.items() if key not in ("description", "default")}


def _not_empty(schema: Schema) -> Schema:
    """Return the schema of a list that is not empty; others are as they are."""
    return {**_bare(schema), "minItems": 1} if schema.get("type") == "array" else _bare(schema)


def _delivered(message: Definition) -> dict[str, Schema]:
    """Return the schemas of a message's fields in a delivery."""
    found: dict[str, Schema] = {}
    for field in message.fields:
        if field.delivered == "never":
            continue
        if field.type == "bytes":
            found |= BODY
        elif field.name == "id":
            found["id"] = ref("Id")
        elif field.is_time:
            found[field.name] = {**MILLISECONDS, "description": _notes(field)["description"]}
        else:
            value = TEXT if field.type == "string" else _value(field)
            found[field.name] = {**value, "description": field.doc}
    return found


_MESSAGE = definitions()["Message"]

SCHEMAS: dict[str, Schema] = {
    "Id": ID,
    "Pattern": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_ID_BYTES,
        "pattern": _NO_CONTROL,
        "description": "Words separated by dots. In a pattern of routing keys, `*` stands for one "
        "word and `#` for any number of words. At most 255 bytes of UTF-8.",
    },
    "Seq": {
        **LONG,
        "description": "Position of a delivery in its queue. It only grows, and is the same "
        "on every worker.",
    },
    "Error": obj({"error": obj({"code": TEXT, "message": TEXT})}),
    **{
        definition.request_schema: request_schema(definition)
        for definition in definitions().values()
        if definition.request_schema
    },
    "Published": {
        **obj({"id": ref("Id"), "partition": COUNT, "offset": COUNT}),
        "description": "Position in the log at which Kafka has the message.",
    },
    "Delivery": {
        "type": "object",
        "properties": {
            "seq": ref("Seq"),
            **_delivered(_MESSAGE),
            "tries": {**COUNT, "description": "How often it was leased or returned."},
            "until": {
                **LONG,
                "description": "When its lease or delay ends, in milliseconds since the epoch.",
            },
            "consumer": {**TEXT, "description": "The consumer that has leased it."},
        },
        "required": [
            "seq",
            *(
                field.name
                for field in _MESSAGE.fields
                if field.delivered == "always" and field.type != "bytes"
            ),
        ],
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
            "next": {**COUNT, "description": "Offset to continue from."},
            "end": {**FLAG, "description": "Whether the end of the range was reached."},
            "held": HELD,
        }
    ),
    "Moment": {
        "type": "string",
        "description": "An offset, or a time in ISO 8601; without a zone it is UTC.",
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
    "Replayed": obj({"replayed": COUNT, "next": COUNT, "end": FLAG, "held": HELD}),
    "Inbox": obj({"messages": an_array(ref("Delivery"))}),
    "Members": obj({"queues": an_array(ref("Id")), "next": or_null(ref("Id"))}),
    "Patterns": obj(
        {
            "bound": FLAG,
            "patterns": an_array(ref("Pattern")),
            "patterns_of_group": COUNT,
        }
    ),
    "Bindings": obj({"groups": an_array(ref("Id")), "next": or_null(ref("Id"))}),
    "Queue": {
        "type": "object",
        "properties": {
            "queue": ref("Id"),
            "depth": COUNT,
            "groups": COUNT,
            "session": or_null(ref("Id")),
            "configured": FLAG,
        },
        "required": ["queue", "depth", "groups", "session"],
    },
    "Exchanges": obj(
        {
            "exchanges": an_array(
                obj(
                    {
                        "name": ref("Id"),
                        "type": {"enum": ["direct", "fanout", "topic"]},
                        "durable": FLAG,
                        "auto_delete": FLAG,
                        "seqs": an_array(ref("Seq")),
                        "ids": an_array(ref("Id")),
                    }
                )
            )
        }
    ),
    "BindingsOfExchange": obj(
        {"bindings": an_array(obj({"group": ref("Id"), "queue": ref("Id")}))}
    ),
    "Connection": obj({"alive": FLAG}),
    "Mark": obj({"offset": COUNT}),
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
            "version": TEXT,
            "known_level": COUNT
            | {"description": "The highest level of the folds that this worker can fold."},
            "native": FLAG
            | {"description": "Whether the native core is in use; see STREAMS_NATIVE."},
            "rebalancing": FLAG,
            "ready": FLAG,
            "not_ready": or_null(TEXT)
            | {"description": "Why the worker cannot answer all of its reads; null if it can."},
            "failure": or_null(TEXT),
            "holds": an_array(obj({"topic": TEXT, "partition": COUNT, **HOLD}))
            | {
                "description": "Partitions of topics that an open transaction of a producer holds: "
                "sources and changelogs that this worker reads."
            },
            "debug": {"type": "object"},
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
                        "held": or_null(obj(HOLD))
                        | {"description": "The open transaction that holds the partition."},
                        "level": or_null(COUNT)
                        | {"description": "The level of the folds; null while it is not open."},
                        "failure": or_null(TEXT)
                        | {"description": "Why it failed last; null once it is ready again."},
                        "needs": or_null(TEXT)
                        | {
                            "description": "Why only a newer version of Streams can fold the "
                            "partition; null if this one can."
                        },
                        "lost": or_null(TEXT)
                        | {"description": "Why the source topic cannot be read; null if it can."},
                    },
                    "required": ["table", "partition", "owner"],
                }
            ),
        },
        "required": ["app", "url", "partitions"],
    },
    "Status": obj({"status": TEXT}),
}
