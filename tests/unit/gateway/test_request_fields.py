"""Fields of any supported type are taken from requests as their definitions say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from streams.events import schema
from streams.events.definitions import definitions, read
from streams.gateway.http.errors import HTTPError
from streams.gateway.openapi.schemas import SCHEMAS, request_schema
from streams.gateway.writes.request_fields import take_all, take_field

STRING = ["null", "string"]
LIST = {"type": "array", "items": "string"}
LONGS = {"type": "array", "items": "long"}
MAP = {"type": "map", "values": "string"}


def taken(root: Path, value: Any, name: str, **field: Any) -> Any:
    """Add a field to Purge, and take it from a request that has it."""
    folder = shutil.copytree(schema.folder(), root / "schemas")
    path = folder / "Purge.avsc"
    content = json.loads(path.read_text())
    content["fields"].append({"name": "extra", "doc": "A test.", **field})
    path.write_text(json.dumps(content))
    definition = read(folder)["Purge"]
    assert name in request_schema(definition)["properties"]
    return take_field(definition.field("extra"))({} if value is ... else {name: value})


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ({"type": STRING, "default": None}, "é", "é"),
        ({"type": STRING, "default": None}, ..., None),
        ({"type": STRING, "default": None}, None, None),
        ({"type": "string", "default": "a", "maxLength": 2}, ..., "a"),
        ({"type": "string", "default": "a", "maxLength": 2}, "bb", "bb"),
        ({"type": "string", "default": "", "pattern": "[a-z]+"}, "abc", "abc"),
        ({"type": "string", "default": "x", "enum": ["x", "y"]}, "y", "y"),
        ({"type": "string", "default": "", "format": "id"}, "q", "q"),
        ({"type": "boolean", "default": True}, ..., True),
        ({"type": "boolean", "default": True}, False, False),
        ({"type": "long", "default": 3, "minimum": -5, "maximum": 5}, -5, -5),
        ({"type": "int", "default": 3}, ..., 3),
        ({"type": LIST, "default": []}, ["a", "\n"], ("a", "\n")),
        ({"type": LIST, "default": [], "format": "id"}, ["a"], ("a",)),
        ({"type": LIST, "default": [], "format": "group"}, ..., ()),
        ({"type": LONGS, "default": [], "format": "seq", "maxItems": 2}, [1, 2], (1, 2)),
        ({"type": MAP, "default": {}, "maxBytes": 2}, {"a": "b"}, {"a": "b"}),
    ],
)
def test_a_new_field_is_taken(
    tmp_path: Path, field: dict[str, Any], value: Any, wanted: Any
) -> None:
    assert taken(tmp_path, value, "extra", **field) == wanted


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ({"type": STRING, "default": None}, 1, 400),
        ({"type": "string", "default": "a", "maxLength": 2}, "bbb", 400),
        ({"type": "string", "default": "", "pattern": "[a-z]+"}, "abc\n", 400),
        ({"type": "string", "default": "x", "enum": ["x", "y"]}, "z", 400),
        ({"type": "string", "default": "", "format": "id"}, "a\0", 400),
        ({"type": "boolean", "default": True}, None, 400),
        ({"type": "long", "default": 3, "minimum": -5, "maximum": 5}, -6, 400),
        ({"type": "int", "default": 3}, 1 << 31, 400),
        ({"type": LIST, "default": []}, ["a", 1], 400),
        ({"type": LIST, "default": []}, "a", 400),
        ({"type": LIST, "default": [], "format": "id"}, [""], 400),
        ({"type": LIST, "default": [], "format": "group"}, ["@q"], 400),
        ({"type": LONGS, "default": [], "format": "seq"}, [-1], 400),
        ({"type": LONGS, "default": [], "format": "seq", "maxItems": 2}, [1, 2, 3], 400),
        ({"type": MAP, "default": {}, "maxBytes": 2}, {"a": "bc"}, 413),
    ],
)
def test_a_new_field_is_checked(
    tmp_path: Path, field: dict[str, Any], value: Any, status: int
) -> None:
    with pytest.raises(HTTPError, match="extra") as refused:
        taken(tmp_path, value, "extra", **field)
    assert refused.value.status == status


def test_a_duration_is_in_seconds(tmp_path: Path) -> None:
    field = {"type": "long", "default": 0, "minimum": 0, "maximum": 5000, "unit": "ms"}
    folder = tmp_path / "one"
    assert taken(folder, 1.5, "extra_seconds", **field) == 1500
    with pytest.raises(HTTPError, match="from 0 to 5"):
        taken(tmp_path / "two", 6, "extra_seconds", **field)


def test_a_choice_of_fields_is_made() -> None:
    contents: list[dict[str, Any]] = [{}, {"upto": 1, "seqs": [1]}, {"upto": None, "seqs": []}]
    for content in contents:
        with pytest.raises(HTTPError, match="give either upto or seqs"):
            take_all("Ack", dict(content))


@pytest.mark.parametrize(
    "definition", [one for one in definitions().values() if one.request_schema]
)
def test_openapi_has_the_fields_of_the_definition(definition: Any) -> None:
    wanted = {field.http_name for field in definition.body_fields}
    if "body" in wanted:
        wanted.add("body_base64")
    assert set(SCHEMAS[definition.request_schema]["properties"]) == wanted


def test_openapi_has_the_fields_of_a_delivery() -> None:
    shown = {one.name for one in definitions()["Message"].fields if one.delivered != "never"}
    of_delivery = {"seq", "tries", "until", "consumer", "body_base64"}
    assert set(SCHEMAS["Delivery"]["properties"]) == shown | of_delivery
