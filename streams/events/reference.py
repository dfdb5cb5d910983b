"""The reference page of the events, made from their definitions."""

from __future__ import annotations

import json
from collections.abc import Mapping

from streams.events.definitions import MISSING, Definition, Field, snake


def page(definitions: Mapping[str, Definition], headers: Mapping[str, str]) -> str:
    """Return the page in Markdown; `headers` has the first ten bytes of each type in hex."""
    parts = [_INTRODUCTION]
    for topic in ("group-events", "queue-events"):
        parts.append(f"## Topic `{topic}`\n")
        for definition in definitions.values():
            if definition.topic == topic:
                parts.append(_section(definition, headers[definition.name]))
    return "\n".join(parts)


_INTRODUCTION = """\
<!-- Generated from schemas/*.avsc by `python -m streams.events.generate`; do not edit. -->

# Events

Every change in Streams is an event: an Avro record in one of two topics. The key of the Kafka
record is the group or the queue in UTF-8, the header `type` has the name of the event, and the
value is in Avro's single-object encoding: `C3 01`, the schema's CRC-64-AVRO fingerprint (together
the ten bytes shown below), and the fields in the order of the table.

Columns of the tables:

* **Default**: the value that an absent field has. A dash means that the field is required.
* **Limits**: what the folds and HTTP accept. Limits marked *(requests)* are checked in requests
  only.
* **HTTP**: the name of the field in requests. *path* means that the path has it, or the line of
  `POST /v1/events`; a dash means that clients cannot set it.

Times are milliseconds since the epoch. Durations are milliseconds in events and seconds in HTTP.
"""


def _section(definition: Definition, header: str) -> str:
    lines = [f"### {definition.name}\n", f"{definition.doc}\n"]
    notes = [f"First bytes: `{header}`."]
    if definition.internal:
        notes.append("Written by workers only.")
    elif definition.batch:
        notes.append(f'In `POST /v1/events`: `"type": "{snake(definition.name)}"`.')
    if definition.one_of:
        names = " and ".join(f"`{name}`" for name in definition.one_of)
        notes.append(f"A request has exactly one of {names}.")
    if definition.max_bytes is not None:
        notes.append(f"Largest encoded size: {definition.max_bytes} bytes.")
    lines.append(" ".join(notes) + "\n")
    lines.append("| Field | Type | Default | Limits | HTTP | Meaning |")
    lines.append("|---|---|---|---|---|---|")
    lines += [_row(definition, field) for field in definition.fields]
    return "\n".join(lines) + "\n"


def _row(definition: Definition, field: Field) -> str:
    default = "-" if field.default is MISSING else f"`{json.dumps(field.default)}`"
    if definition.internal or field.request == "none":
        http = "-"
    elif field.request == "path":
        http = "path"
    elif field.name == "body":
        http = "`body` or `body_base64`"
    else:
        http = f"`{field.http_name}`"
    cells = (f"`{field.name}`", _type(field), default, _limits(field), http, field.doc)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(field: Field) -> str:
    kind = f"{field.type} of {field.items}" if field.items else field.type
    if field.is_time:
        kind = "time"
    elif field.is_duration:
        kind += " (ms)"
    elif field.format:
        kind += f" ({field.format})"
    return f"{kind} or null" if field.nullable else kind


def _limits(field: Field) -> str:
    found: list[str] = []
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        found.append(f"{low} to {high}")
    elif low is not None:
        found.append(f"at least {low}")
    elif high is not None:
        found.append(f"at most {high}")
    if field.get("requestMinimum") is not None:
        found.append(f"at least {field.get('requestMinimum')} (requests)")
    if field.get("enum"):
        found.append(", ".join(f"`{value}`" for value in field.get("enum")))
    if field.get("maxLength") is not None:
        unit = "bytes" if field.type == "bytes" else "characters"
        found.append(f"at most {field.get('maxLength')} {unit}")
    if field.get("pattern"):
        found.append(f"matches `{field.get('pattern')}`")
    if field.get("maxItems") is not None:
        found.append(f"at most {field.get('maxItems')} items")
    if field.get("minItems") is not None:
        found.append(f"at least {field.get('minItems')} item (requests)")
    if field.get("maxBytes") is not None:
        found.append(f"at most {field.get('maxBytes')} bytes")
    if field.get("differsFrom"):
        found.append(f"not the value of `{field.get('differsFrom')}`")
    text = "; ".join(found)
    if field.get("check") == "requests" and (text or field.format):
        text = f"{text} (requests)".strip()
    return text
