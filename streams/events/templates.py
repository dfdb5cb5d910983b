"""Python code made from the definitions of events: records, limits, checks of folds, drafts.

Plain functions from definitions to source text; `generate` writes it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams.events.definitions import (
    EARLIEST_MS,
    LATEST_MS,
    MISSING,
    Definition,
    Field,
    snake,
)

WIDTH: Final = 99
NOTICE: Final = "Generated from schemas/*.avsc by `python -m streams.events.generate`; do not edit."

Definitions = Mapping[str, Definition]

_PYTHON: Final = {"string": "str", "boolean": "bool", "int": "int", "long": "int", "bytes": "bytes"}


def records(definitions: Definitions) -> str:
    """Return the module of the record types."""
    origin = next(
        field
        for definition in definitions.values()
        for field in definition.fields
        if field.type == "record"
    )
    parts = [
        _head(
            "The events as plain data.",
            "Times are milliseconds since the epoch.  Nothing here knows how records are encoded.",
        ),
        "from __future__ import annotations\n\n"
        "from collections.abc import Mapping\n"
        "from dataclasses import dataclass, field\n",
        "\n" + _class("Origin", origin.doc, _ORIGIN),
    ]
    for definition in definitions.values():
        fields = []
        needs_default = False
        for one in definition.fields:
            default = _record_default(one)
            needs_default = needs_default or bool(default)
            if needs_default and not default:
                raise ValueError(f"{definition.name}.{one.name} needs a default")
            fields.append((f"{one.name}: {_record_type(one)}{default}", one.doc))
        parts.append("\n" + _class(definition.name, definition.doc, fields))
    of_groups = [one.name for one in definitions.values() if one.topic == "group-events"]
    of_queues = [
        one.name for one in definitions.values() if one.topic == "queue-events" and not one.internal
    ]
    others = [one.name for one in definitions.values() if one.internal]
    parts.append(
        f"\nGroupEvent = {' | '.join(of_groups)}\n"
        '"""An event of one group."""\n'
        f"QueueEvent = {' | '.join(of_queues)}\n"
        '"""An event of one queue."""\n\n'
        f"Event = GroupEvent | QueueEvent | {' | '.join(others)}\n"
    )
    members = "".join(f"    {name},\n" for name in definitions)
    parts.append(f"EVENTS: tuple[type[Event], ...] = (\n{members})\n")
    return "\n".join(parts)


def limits(definitions: Definitions) -> str:
    """Return the module of the limits that other modules need by name."""
    lines: list[str] = []
    for definition in definitions.values():
        event = snake(definition.name).upper()
        if definition.max_bytes is not None:
            lines += [f"MAX_{event}_BYTES: Final = {_literal(definition.max_bytes)}"]
            lines += [f'"""Largest encoded {definition.name}, in bytes."""']
        for field in definition.fields:
            name = f"{event}_{field.name.upper()}"
            for key, meaning in _MAXIMA.items():
                if field.get(key) is not None:
                    of = f"{definition.name}.{field.name}"
                    lines += [f"MAX_{name}: Final = {_literal(field.get(key))}"]
                    lines += [f'"""{meaning.format(of)}"""']
            if field.get("enum"):
                lines += [f"{name}_VALUES: Final = {_tuple(field.get('enum'))}"]
            if field.type in ("int", "long") and isinstance(field.default, int) and field.default:
                lines += [f"DEFAULT_{name}: Final = {_literal(field.default)}"]
    return "\n".join(
        [
            _head("The limits of the fields of events, by name."),
            "from __future__ import annotations\n\nfrom typing import Final\n",
            *lines,
            "",
        ]
    )


_MAXIMA: Final = {
    "maximum": "Greatest value of {}.",
    "maxLength": "Greatest length of {}.",
    "maxItems": "Most items of {}.",
    "maxBytes": "Greatest size of {}, in bytes.",
}


def checks(definitions: Definitions) -> str:
    """Return the module of what folds refuse."""
    functions: list[str] = []
    tables: dict[str, list[str]] = {"group-events": [], "queue-events": []}
    imports: set[str] = set()
    for definition in definitions.values():
        if definition.internal:
            continue
        body = [
            line
            for field in definition.fields
            if field.get("check") != "requests"
            for line in _check(field, imports)
        ]
        function = f"check_{snake(definition.name)}"
        functions.append(
            f"def {function}(values: dict[str, Any]) -> None:\n"
            f'    """Check the fields of {_article(definition.name)}."""\n'
            + "".join(f"    {line}\n" for line in body)
            + "\n"
        )
        tables[definition.topic].append(f'    "{definition.name}": {function},\n')
    return "\n".join(
        [
            _head(
                "What folds refuse in the fields of an event.",
                "A check takes the fields as `codec.read` returns them and raises BadRecord.  The\n"
                "checks are straight-line code because every record passes one.",
            ),
            "from __future__ import annotations\n\n"
            + ("import re\n" if "re" in imports else "")
            + "from collections.abc import Callable\n"
            "from typing import Any, Final\n\n"
            "from streams.fold import BadRecord\n"
            f"from streams.ids import {', '.join(sorted(imports - {'re'}))}\n\n",
            "\n".join(functions),
            f"GROUP_EVENT_CHECKS: Final[{_TABLE}] = {{\n{''.join(tables['group-events'])}}}",
            f"QUEUE_EVENT_CHECKS: Final[{_TABLE}] = {{\n{''.join(tables['queue-events'])}}}\n",
        ]
    )


_TABLE: Final = "dict[str, Callable[[dict[str, Any]], None]]"


def draft(message: Definition) -> str:
    """Return the client's module of messages to be published."""
    by_name = {field.name: field for field in message.body_fields if field.name != "body"}
    first = [by_name.pop(name) for name in _DRAFT_FIRST]
    fields = [*first, *by_name.values()]
    if any(one.is_duration for one in fields):
        raise ValueError("Message cannot have a duration; use a time")
    typed = "".join(f"    {one.name}: {_draft_type(one)}\n" for one in fields)
    attributes = "".join(
        f"    {one.name}: {_draft_type(one)} = {_draft_default(one)}\n{_doc(one.doc, 4)}"
        for one in fields
    )
    written = "".join(_draft_json(one) for one in fields if one.name != "id")
    zones = "".join(
        f"        if isinstance(self.{one.name}, datetime) and self.{one.name}.tzinfo is None:\n"
        f'            raise ValueError("{one.name} needs a time zone")\n'
        for one in fields
        if one.is_time
    )
    return _DRAFT.format(
        notice=NOTICE,
        typed=typed,
        attributes=attributes,
        zones=zones,
        earliest=f"{EARLIEST_MS:_}",
        latest=f"{LATEST_MS:_}",
        written=written.rstrip("\n"),
    )


_DRAFT_FIRST: Final = ("sender", "kind", "headers", "id")
"""Positional arguments of a Draft keep their order, whatever the schema's is."""

_DRAFT: Final = '''"""A message to publish, as plain data.

{notice}
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict


class MessageFields(TypedDict, total=False):
    """Optional fields of a message; see `Draft` for their meaning."""

{typed}

@dataclass(frozen=True, slots=True)
class Draft:
    """A message to publish, either to a group or directly to a queue.

    A draft gets its id when it is made, so it can safely be sent again: groups drop messages
    whose sender has used the id in the last ten minutes.

    Raises:
        ValueError: there is not exactly one of `group` and `queue`, or a time has no time zone.
    """

    body: str | bytes
    """Content of the message."""
    group: str | None = None
    """Group to publish to."""
    queue: str | None = None
    """Queue to send to, instead of a group."""
{attributes}
    def __post_init__(self) -> None:
        if (self.group is None) == (self.queue is None):
            raise ValueError("a draft needs either a group or a queue")
{zones}
    def fields(self) -> dict[str, Any]:
        """Return the JSON fields of a publish request, without the destination."""
        if isinstance(self.body, str):
            return {{"body": self.body, **self.options()}}
        return {{"body_base64": base64.b64encode(self.body).decode(), **self.options()}}

    def options(self) -> dict[str, Any]:
        """Return the id, and the other fields that do not have their defaults."""
        content: dict[str, Any] = {{"id": self.id}}
{written}
        return content


def milliseconds(moment: datetime | int) -> int:
    """Return a time in milliseconds since the epoch.

    Raises:
        ValueError: it is not from 2001 to 9999, as a number of seconds is not.
    """
    found = moment if isinstance(moment, int) else int(moment.timestamp() * 1000)
    if not {earliest} <= found <= {latest}:
        raise ValueError(
            f"the time {{moment}} is not from 2001 to 9999; "
            "give a datetime, or milliseconds since 1970"
        )
    return found
'''


def _draft_type(field: Field) -> str:
    if field.is_time:
        return "datetime | int | None" if field.nullable else "datetime | int"
    if field.type == "map":
        return "Mapping[str, str]"
    if field.type == "array":
        return f"tuple[{_PYTHON[field.items]}, ...]"
    kind = _PYTHON[field.type]
    # A number that is not given is the worker's default.
    return f"{kind} | None" if field.nullable or kind == "int" else kind


def _draft_default(field: Field) -> str:
    if field.name == "id":
        return "field(default_factory=lambda: str(uuid.uuid4()))"
    if field.type == "map":
        return "field(default_factory=dict)"
    if field.type == "array":
        return "()"
    if field.nullable or field.type in ("int", "long"):
        return "None"
    return '""' if field.default is MISSING else _literal(field.default)


def _draft_json(field: Field) -> str:
    name, value, default = field.name, f"self.{field.name}", _draft_default(field)
    if default == "None":
        condition = f"{value} is not None"
    elif default == "True":
        condition = f"not {value}"
    elif default in ("False", '""', "()") or field.type == "map":
        condition = value
    else:
        condition = f"{value} != {default}"
    if field.is_time:
        value = f"milliseconds({value})"
    elif field.type == "map":
        value = f"dict({value})"
    return f'        if {condition}:\n            content["{name}"] = {value}\n'


# Records ------------------------------------------------------------------------------

_ORIGIN: Final = [
    ("partition: int", "Partition of queue-events."),
    ("offset: int", "Offset in queue-events."),
    ("part: int", "Number of the event, from 0, among those that the record led to."),
    ("log: int = 0", "Number of that log queue-events; 0 if version 0.1 wrote the event."),
]


def _class(name: str, doc: str, fields: Iterable[tuple[str, str]]) -> str:
    body = "\n".join(f"    {declared}\n{_doc(doc, 4).rstrip()}" for declared, doc in fields)
    return f"@dataclass(frozen=True, slots=True)\nclass {name}:\n{_class_doc(doc)}\n{body}\n"


def _record_type(field: Field) -> str:
    if field.type == "record":
        kind = "Origin"
    elif field.format == "id-column":
        kind = "tuple[tuple[str, ...], ...]" if field.type == "array" else "tuple[str, ...]"
    elif field.type == "array":
        kind = f"tuple[{_PYTHON[field.items]}, ...]"
    elif field.type == "map":
        kind = "Mapping[str, str]"
    else:
        kind = _PYTHON[field.type]
    return f"{kind} | None" if field.nullable else kind


def _record_default(field: Field) -> str:
    """Return the default of a record's field; times, collections and bytes always have one."""
    if field.type == "map":
        return " = field(default_factory=dict)"
    if field.type == "array" or field.format == "id-column":
        return " = ()"
    if field.default is not MISSING:
        return f" = {_literal(field.default)}"
    if field.type == "bytes":
        return ' = b""'
    return " = 0" if field.is_time else ""


# Checks -------------------------------------------------------------------------------


def _check(field: Field, imports: set[str]) -> list[str]:
    """Return the lines that check one field; none for a field without limits."""
    name = field.name
    faults: list[tuple[str, str]] = []
    empty_passes = field.default == "" or field.get("minLength") == 0
    if field.format in _FORMATS:
        test, text = _FORMATS[field.format]
        imports.add(test)
        if field.type == "array":
            return [
                f'for item in values["{name}"]:',
                f"    if not {test}(item):",
                f'        raise BadRecord("{name} has an item that {text}")',
            ]
        faults.append((f"not {test}(value)", f'"{name} {text}"'))
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        test = f"not {_literal(low)} <= value <= {_literal(high)}"
        faults.append((test, f'"{name} must be from {low} to {high}"'))
    elif low is not None:
        faults.append((f"value < {_literal(low)}", f'"{name} must be at least {low}"'))
    elif high is not None:
        faults.append((f"value > {_literal(high)}", f'"{name} must be at most {high}"'))
    if field.get("enum"):
        allowed = field.get("enum")
        test = f"value not in {_tuple(allowed)}"
        faults.append((test, f'"{name} must be one of {", ".join(allowed)}"'))
    for key, unit in _LENGTHS.get(field.type, {}).items():
        most = field.get(key)
        if most is not None:
            text = f'f"{name} has {{len(value)}} {unit}; the limit is {most}"'
            faults.append((f"len(value) > {_literal(most)}", text))
    if field.get("pattern"):
        imports.add("re")
        pattern = _pattern(field.get("pattern"))
        text = f'"{name} does not match " {pattern}'
        faults.append((f"not re.fullmatch({pattern}, value)", text))
    if field.get("differsFrom"):
        other = field.get("differsFrom")
        faults.append((f'value == values["{other}"]', f'"{name} must differ from {other}"'))
    if not faults:
        return []
    guard = "value and " if empty_passes else "value is not None and " if field.nullable else ""
    lines = [f'value = values["{name}"]']
    for test, text in faults:
        lines += [f"if {guard}{test}:", f"    raise BadRecord({text})"]
    return lines


_FORMATS: Final = {
    "id": ("is_id", "is not a valid id"),
    "group": ("is_group", "is not a valid group id"),
    "destination": ("is_destination", "is neither a valid group id nor @ and a queue id"),
    "pattern": ("is_pattern", "is not a valid pattern"),
}
_LENGTHS: Final = {
    "string": {"maxLength": "characters"},
    "bytes": {"maxLength": "bytes"},
    "array": {"maxItems": "items"},
}


# Text ---------------------------------------------------------------------------------


def _head(first: str, more: str = "") -> str:
    return f'"""{first}\n\n{NOTICE}\n' + (f"{more}\n" if more else "") + '"""\n'


def _class_doc(doc: str) -> str:
    """Return the docstring of a class: its first sentence on a line of its own."""
    first, _, rest = doc.partition(". ")
    first = first.removesuffix(".") + "."
    if len(first) > WIDTH - 10:
        raise ValueError(f"the first sentence of a record's doc is too long: {first}")
    if not rest:
        return f'    """{first}"""\n'
    wrapped = textwrap.fill(rest, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f'    """{first}\n\n{wrapped}\n    """\n'


def _doc(doc: str, indent: int) -> str:
    """Return the docstring of a field."""
    space = " " * indent
    quoted = f'"""{doc}"""'
    return textwrap.fill(quoted, WIDTH, initial_indent=space, subsequent_indent=space) + "\n"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:_}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def _tuple(values: Iterable[str]) -> str:
    quoted = [f'"{value}"' for value in values]
    return f"({', '.join(quoted)}{',' if len(quoted) == 1 else ''})"


def _pattern(pattern: str) -> str:
    """Return a regular expression as a raw literal.

    Raises:
        ValueError: it has a quotation mark.
    """
    if '"' in pattern:
        raise ValueError(f"a pattern must not have a quotation mark: {pattern}")
    return f'r"{pattern}"'


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
