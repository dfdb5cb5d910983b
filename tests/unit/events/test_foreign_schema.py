"""Schemas of somebody else: those that would end a worker are refused, usual ones are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.events.codec import foreign
from streams.events.schema import folder
from streams.fold import BadRecord

NAMES = ("Bind", "Message", "Unbind")


def with_field(kind: Any) -> dict[str, Any]:
    """Return a schema of a Bind with one field more."""
    fields = [{"name": name, "type": "string"} for name in ("group", "queue")]
    fields += [{"name": "at", "type": "long"}, {"name": "more", "type": kind}]
    return {"type": "record", "name": "Bind", "fields": fields}


def record(name: str, *kinds: Any) -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(kinds)]
    return {"type": "record", "name": name, "fields": fields}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def doubled(levels: int) -> dict[str, Any]:
    """Return a record with twice as many parts for each level."""
    kind = record("R0", "null")
    for number in range(1, levels):
        kind = record(f"R{number}", kind, f"R{number - 1}")
    return kind


def nested(levels: int) -> Any:
    kind: Any = "long"
    for _ in range(levels):
        kind = array(kind)
    return kind


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (record("R", "R"), "contains itself"),
        (record("R", ["null", "R"]), "contains itself"),
        (record("R", array(["null", "other.R"])), "contains itself"),
        (record("a.R", record("b.R", "null"), ["null", "a.R"]), "two types"),
        (["null", "Bind"], "contains itself"),
        (array("null"), "no bytes"),
        (array(record("E")), "no bytes"),
        (array({"type": "fixed", "name": "F", "size": 0}), "no bytes"),
        (array(record("R", *["long"] * 20)), "more than 16 parts"),
        (doubled(20), "more than 1000 parts"),
        (nested(100), "more than 32 levels"),
        (7, "not well-formed"),
        ({"no": "type"}, "not well-formed"),
    ],
)
def test_schemas_that_would_end_a_worker_are_refused(kind: Any, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        foreign(with_field(kind), NAMES)


@pytest.mark.parametrize(
    "kind",
    [
        "null",
        ["null", "string"],
        array(record("P", "string", ["null", "long"])),
        {"type": "map", "values": "null"},
        {"type": "enum", "name": "E", "symbols": ["a"]},
        {"type": "fixed", "name": "F", "size": 16},
        record("R", record("S", "long"), "S", "S"),
    ],
)
def test_usual_schemas_are_read(kind: Any) -> None:
    foreign(with_field(kind), NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_our_own_schemas_are_read(name: str) -> None:
    foreign(json.loads((folder() / f"{name}.avsc").read_text()), NAMES)
