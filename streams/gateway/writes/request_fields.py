"""How requests state the fields of each event, by the definitions of the events.

One function per field takes it from a JSON object, made once when the gateway starts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from streams.events.definitions import MISSING, Definition, Field, definitions
from streams.gateway.http import fields as f
from streams.gateway.http.errors import bad_request

Take: TypeAlias = Callable[[f.Fields], Any]


def take_all(event: str, content: f.Fields) -> dict[str, Any]:
    """Take the fields of an event from a request; return those given, by their names in the event.

    A field that is not given is left to the record's default, which saves a call: most events
    have few of their fields.  The fields in the path and the body of a Message are not taken.

    Raises:
        HTTPError: 400 or 413 if a field is wrong, missing or unknown.
    """
    takes, required, one_of = _EVENTS[event]
    values = {name: take(content) for name, http_name, take in takes if http_name in content}
    for name, take in required:
        if name not in values:
            values[name] = take(content)  # which refuses an absent field
    if content:
        f.refuse_rest(content)
    if one_of and sum(values.get(name) not in (None, ()) for name in one_of) != 1:
        raise bad_request("bad_field", f"give either {' or '.join(one_of)}")
    return values


def refuse_equal(event: str, values: dict[str, Any]) -> None:
    """Refuse an event with two equal fields that must differ.

    Raises:
        HTTPError: 400, naming both.
    """
    for name, other in _DIFFERENT.get(event, ()):
        if values.get(name) == values[other]:
            raise bad_request("bad_field", f"{name} must differ from {other}")


def take_path(event: str, content: f.Fields) -> dict[str, str]:
    """Take the ids that an event's path has from a JSON object that has them instead.

    Raises:
        HTTPError: 400 if one is wrong or missing.
    """
    return {name: take(content, name) for name, take in _PATHS[event]}


def take_field(field: Field) -> Take:
    """Return the function that takes a field from a JSON object; absent fields get defaults."""
    name = field.http_name
    low, high = field.request_range
    default = None if field.default is MISSING else field.default
    take: Take
    match field.type:
        case "boolean":
            return partial(f.take_flag, name=name, default=field.default is True)
        case "map":
            return partial(f.take_strings_by_name, name=name, max_bytes=field.get("maxBytes"))
        case "array":
            return _take_list(field)
        case "string" if field.format == "id":
            take = partial(f.take_optional_id, name=name)
        case "string" if field.get("enum"):
            take = partial(f.take_choice, name=name, choices=tuple(field.get("enum")))
        case "string":
            length, pattern = field.get("maxLength"), field.get("pattern")
            take = partial(f.take_optional_text, name=name, max_length=length, pattern=pattern)
        case "int" | "long" if field.is_duration:
            take = partial(f.take_optional_seconds, name=name, high_ms=high, low_ms=low)
        case "int" | "long" if field.is_time:
            take = partial(f.take_optional_time, name=name, low=low, high=high)
        case "int" | "long":
            take = partial(f.take_optional_integer, name=name, low=low, high=high)
        case _:
            raise ValueError(f"{field.name}: HTTP cannot state a field of type {field.type}")
    return take if default is None else _or_default(take, default)


def _or_default(take: Take, default: Any) -> Take:
    def take_or_default(content: f.Fields) -> Any:
        value = take(content)
        return default if value is None else value

    return take_or_default


def _take_list(field: Field) -> Take:
    name = field.http_name
    take: Take
    if field.items == "string":
        by_format = {"group": f.take_groups, "id": f.take_ids}
        take = partial(by_format.get(field.format, f.take_strings), name=name)
    else:
        low, high = field.request_range
        least, most = field.get("minItems") or 0, field.get("maxItems")
        take = partial(f.take_integers, name=name, low=low, high=high, least=least, most=most)
    return lambda content: tuple(take(content))


class _Takes(NamedTuple):
    all: list[tuple[str, str, Take]]
    """Name in the event, name in HTTP, function."""
    required: list[tuple[str, Take]]
    one_of: tuple[str, ...]


def _of(definition: Definition) -> _Takes:
    fields = [field for field in definition.body_fields if field.type != "bytes"]
    return _Takes(
        [(field.name, field.http_name, take_field(field)) for field in fields],
        [(field.name, take_field(field)) for field in fields if field.get("minItems")],
        definition.one_of,
    )


_EVENTS: Final = {
    name: _of(definition) for name, definition in definitions().items() if not definition.internal
}
_DIFFERENT: Final = {
    name: [(field.name, field.get("differsFrom")) for field in fields]
    for name, definition in definitions().items()
    if (fields := [field for field in definition.fields if field.get("differsFrom")])
}
_TAKE_PATH: Final = {"group": f.take_group, "pattern": f.take_pattern}
_PATHS: Final = {
    name: [
        (field.name, _TAKE_PATH.get(field.format, f.take_id)) for field in definition.path_fields
    ]
    for name, definition in definitions().items()
}
