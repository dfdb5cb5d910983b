"""The OpenAPI document speaks of the paths that there are, and of nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from streams.gateway.http.fields import MAX_LONG
from streams.gateway.openapi.document import document
from streams.gateway.openapi.operations import FOR_BROWSERS, OPERATIONS, PATH_PARAMETERS
from streams.gateway.routes import ROUTES


def test_every_method_of_every_route_is_described_and_no_other() -> None:
    routed = {(route.template, route.method) for route in ROUTES}

    assert set(OPERATIONS) == {one for one in routed if one[0] not in FOR_BROWSERS}


def test_every_name_in_a_path_has_a_schema() -> None:
    names = {name for template, _ in OPERATIONS for name in re.findall(r"\{(\w+)\}", template)}

    assert names == set(PATH_PARAMETERS)


def test_a_query_parameter_may_be_empty() -> None:
    """The gateway takes it for absent: `?after=&limit=` is what many clients send."""
    methods = [method for path in document()["paths"].values() for method in path.values()]
    parameters = [one for method in methods for one in method.get("parameters", [])]
    empty = {one["name"]: one.get("allowEmptyValue") for one in parameters if one["in"] == "query"}
    assert {"after", "limit", "all"} <= set(empty)
    assert set(empty.values()) == {True}


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    found = set(_references(whole))
    assert len(found) > 10
    for reference in found:
        node: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node


def test_every_schema_is_used() -> None:
    used = {reference.rpartition("/")[2] for reference in _references(document())}

    assert set(document()["components"]["schemas"]) <= used


def test_operations_have_names_of_their_own() -> None:
    names = [
        operation["operationId"]
        for methods in document()["paths"].values()
        for operation in methods.values()
    ]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        ("Id", "a/b", True),
        ("Id", "", False),
        ("Id", "a\tb", False),
        ("Id", "x" * 256, False),
        ("Seq", MAX_LONG, True),
        ("Seq", MAX_LONG + 1, False),
        ("Draft", {"body": "x"}, True),
        ("Draft", {"body": "x", "body_base64": None, "id": None}, True),
        ("Draft", {"body_base64": "AP8="}, True),
        ("Draft", {"body": "x", "body_base64": "AP8="}, False),
        ("Draft", {}, False),
        ("Draft", {"body": "x", "unknown": "red"}, False),
        ("Ack", {"upto": 1}, True),
        ("Ack", {"upto": 1, "seqs": []}, True),
        ("Ack", {"seqs": []}, False),
        ("Ack", {"upto": 1, "seqs": [2]}, False),
    ],
)
def test_schemas_allow_what_the_gateway_allows(name: str, value: Any, valid: bool) -> None:
    validation = pytest.importorskip("jsonschema_rs")
    whole = document()
    schema = {"$ref": f"#/components/schemas/{name}", "components": whole["components"]}
    assert validation.validator_for(schema).is_valid(value) is valid
