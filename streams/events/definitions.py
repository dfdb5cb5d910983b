"""What the schemas say about each event: its fields, their limits, and how HTTP shows them.

The files `schemas/<Name>.avsc` are the only hand-written statement of an event.  Besides
what Avro defines, they have the properties below.  Avro ignores them: they are not part of
a schema's fingerprint, so changing one makes no new version.

====================  =================================================================
property of a record
====================  =================================================================
``topic``             the log that it belongs to, without namespace
``internal``          true: only folds and workers write it
``batch``             false: ``POST /v1/events`` does not take it
``requestSchema``     name in OpenAPI of the JSON object that requests send
``oneOf``             a request has exactly one of these fields
``maxBytes``          largest size of the encoded record
====================  =================================================================

====================  =================================================================
property of a field
====================  =================================================================
``format``            ``id``; ``group``, an id that does not begin with ``@``;
                      ``destination``, a group, or ``@`` and a queue id; ``seq``;
                      ``pattern``, of routing keys: empty, or like an id;
                      ``id-column``, ids in UTF-8 with a NUL after each
``minimum``           least number (of milliseconds, where the unit is ms)
``maximum``           greatest number
``requestMinimum``    least number in requests, if folds accept a lesser one of old logs
``minLength``         least length of a string; 0 allows an empty id
``maxLength``         greatest length, in characters of a string or bytes of ``bytes``
``pattern``           regular expression that a whole string matches
``enum``              the strings that are allowed
``minItems``          least length of an array, in requests
``maxItems``          greatest length of an array
``maxBytes``          greatest size of a map, keys and values in UTF-8
``differsFrom``       another field that must not have the same value
``unit``              ``ms``: a duration, which HTTP has in seconds
``check``             ``requests``: folds do not check the field, as old logs may break
                      its limits
``request``           where HTTP requests have it: ``body`` (the default), ``path`` or
                      ``none``
``optional``          true: a request may omit it although it has no default
``delivered``         for Message, when a delivery shows it: ``changed`` from its default
                      (the default), ``always`` or ``never``
====================  =================================================================

A field's default always passes the checks of folds.  Times and seqs are limited in requests
only, since every number means something to a fold: an old time has passed, and an unknown
seq names no delivery.

Knows the files, not how records are encoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from streams.events.schema import folder

EARLIEST_MS: Final = 978_307_200_000
"""Least time that requests may state, the year 2001: a time in seconds is less."""
LATEST_MS: Final = 253_402_300_799_999
"""Greatest time that requests may state, the year 9999: one in microseconds is greater."""

MISSING: Final = object()
"""Default of a field that has none."""

_FIELD_PROPERTIES: Final = frozenset(
    {
        *("name", "type", "default", "doc", "format", "minimum", "maximum", "minLength"),
        *("maxLength", "pattern", "enum", "minItems", "maxItems", "maxBytes", "differsFrom"),
        *("requestMinimum", "unit", "check", "request", "optional", "delivered"),
    }
)
_RECORD_PROPERTIES: Final = frozenset(
    {
        *("type", "name", "namespace", "doc", "fields"),
        *("topic", "internal", "batch", "requestSchema", "oneOf", "maxBytes"),
    }
)


def snake(name: str) -> str:
    """Return the name of an event in lower case, with `_` between its words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event."""

    name: str
    doc: str
    type: str
    """Avro's name of the type, without null: `string`, `long`, `array`, `record`, ..."""
    items: str
    """Type of the items of an array or the values of a map; empty for other types."""
    nullable: bool
    is_time: bool
    default: Any
    """Avro's default, `MISSING` if there is none."""
    properties: Mapping[str, Any]
    """The properties of the module's docstring."""

    def get(self, name: str) -> Any:
        """Return a property, None if the field does not have it."""
        return self.properties.get(name)

    @property
    def format(self) -> str:
        """The format, empty if the field has none."""
        return str(self.properties.get("format", ""))

    @property
    def is_duration(self) -> bool:
        """Whether the field is in milliseconds, and in seconds in HTTP."""
        return self.properties.get("unit") == "ms"

    @property
    def request_range(self) -> tuple[int, int]:
        """The least and the greatest number that requests may have."""
        if self.is_time:
            return EARLIEST_MS, LATEST_MS
        bits = 32 if "int" in (self.type, self.items) else 64
        least = 0 if self.format == "seq" else -(1 << bits - 1)
        low, high = self.get("requestMinimum"), self.get("maximum")
        low = self.get("minimum") if low is None else low
        return least if low is None else low, (1 << bits - 1) - 1 if high is None else high

    @property
    def http_name(self) -> str:
        """The field's name in HTTP."""
        return self.name.removesuffix("_ms") + "_seconds" if self.is_duration else self.name

    @property
    def request(self) -> str:
        """Where requests have it: `body`, `path` or `none`."""
        return str(self.properties.get("request", "body"))

    @property
    def delivered(self) -> str:
        """When deliveries show it: `always`, `changed` or `never`."""
        return str(self.properties.get("delivered", "changed"))


@dataclass(frozen=True, slots=True)
class Definition:
    """One type of event."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    topic: str
    internal: bool
    batch: bool
    request_schema: str
    """Name of the OpenAPI schema of requests, empty if they have no body."""
    one_of: tuple[str, ...]
    max_bytes: int | None

    def field(self, name: str) -> Field:
        """Return the field with this name."""
        return next(field for field in self.fields if field.name == name)

    @property
    def path_fields(self) -> tuple[Field, ...]:
        """The fields that requests have in their path."""
        return tuple(field for field in self.fields if field.request == "path")

    @property
    def body_fields(self) -> tuple[Field, ...]:
        """The fields that requests have in their body."""
        return tuple(field for field in self.fields if field.request == "body")


def read(root: Path) -> dict[str, Definition]:
    """Read the definitions in a folder of schemas, by name, in alphabetical order.

    Raises:
        ValueError: a schema has an unknown property or an unsupported type.
    """
    found = [_definition(json.loads(path.read_text())) for path in sorted(root.glob("*.avsc"))]
    return {definition.name: definition for definition in found}


@cache
def definitions() -> dict[str, Definition]:
    """Return the definitions that belong to this code; the dict must not be changed."""
    return read(folder())


def _definition(schema: dict[str, Any]) -> Definition:
    name = schema["name"]
    _refuse_unknown(name, schema, _RECORD_PROPERTIES)
    return Definition(
        name=name,
        doc=schema["doc"],
        fields=tuple(_field(name, field) for field in schema["fields"]),
        topic=schema["topic"],
        internal=schema.get("internal", False),
        batch=schema.get("batch", True) and not schema.get("internal", False),
        request_schema=schema.get("requestSchema", ""),
        one_of=tuple(schema.get("oneOf", ())),
        max_bytes=schema.get("maxBytes"),
    )


def _field(event: str, schema: dict[str, Any]) -> Field:
    where = f"{event}.{schema['name']}"
    _refuse_unknown(where, schema, _FIELD_PROPERTIES)
    written, nullable = schema["type"], False
    if isinstance(written, list):
        if len(written) != 2 or written[0] != "null":
            raise ValueError(f'{where}: a union must be ["null", another type]')
        written, nullable = written[1], True
    parts = written if isinstance(written, dict) else {"type": written}
    name, items = str(parts["type"]), str(parts.get("items", parts.get("values", "")))
    is_time = parts.get("logicalType") == "timestamp-millis"
    kind = f"{name} of {items}" if items else name
    if kind not in _TYPES:
        raise ValueError(f"{where}: type {kind} is not supported; use one of {', '.join(_TYPES)}")
    if nullable and name == "boolean":
        raise ValueError(f"{where}: a boolean must not be null; give it a default")
    properties = {key: value for key, value in schema.items() if key not in _AVRO}
    default = schema.get("default", MISSING)
    doc = schema["doc"]
    return Field(schema["name"], doc, name, items, nullable, is_time, default, properties)


_AVRO: Final = frozenset({"name", "type", "default", "doc"})
_TYPES: Final = (
    *("string", "boolean", "int", "long", "bytes", "record"),
    *("array of string", "array of long", "array of int", "array of bytes", "map of string"),
)


def _refuse_unknown(where: str, schema: dict[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(set(schema) - known)
    if unknown:
        raise ValueError(f"{where}: unknown property {unknown[0]}; definitions.py lists them")
