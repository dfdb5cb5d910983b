"""Schemas change only in ways that logs survive."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

from streams.events import check, schema
from streams.events.records import EVENTS

Change = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shutil.copytree(schema.folder(), tmp_path / "schemas")


def edit(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content["fields"])
    path.write_text(json.dumps(content))


def test_the_schemas_are_as_they_must_be() -> None:
    assert schema.violations(schema.folder()) == []
    assert check.main([]) == 0


@pytest.mark.parametrize("kind", EVENTS)
def test_fingerprints_are_those_of_the_specification(kind: type) -> None:
    # Given every version, and another implementation of canonical form and CRC-64-AVRO
    for version in schema.history(schema.folder(), kind.__name__):
        content = json.loads(version.path.read_text())
        # When it fingerprints the file as it is, logical types and all
        other = fingerprint(to_parsing_canonical_form(content), "CRC-64-AVRO")
        # Then they agree
        assert version.header == b"\xc3\x01" + bytes.fromhex(other)


def test_a_change_must_be_kept_in_history(root: Path) -> None:
    # Given a compatible change
    def add_note(fields: list[dict[str, Any]]) -> None:
        fields.append({"name": "note", "type": "string", "default": ""})

    edit(root / "Close.avsc", add_note)
    # When it is not in history, Then it is refused
    assert schema.violations(root) == [
        "Close: the current schema is not in history; keep it as history/Close.2.avsc, "
        "and change no older one"
    ]
    # When it is, Then it is not
    shutil.copy(root / "Close.avsc", root / "history" / "Close.2.avsc")
    assert schema.violations(root) == []


def rename(fields: list[dict[str, Any]]) -> None:
    fields[0]["name"] = "inbox"


def without_default(fields: list[dict[str, Any]]) -> None:
    fields.append({"name": "note", "type": "string"})


def other_type(fields: list[dict[str, Any]]) -> None:
    fields[1]["type"] = "long"


def remove(fields: list[dict[str, Any]]) -> None:
    del fields[1]


@pytest.mark.parametrize("change", [rename, without_default, other_type, remove])
def test_an_incompatible_change_is_refused(
    root: Path, change: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(root / "Close.avsc", change)
    shutil.copy(root / "Close.avsc", root / "history" / "Close.2.avsc")
    assert check.main([str(root)]) == 1
    assert "Close" in capsys.readouterr().err


def test_a_file_must_hold_the_type_that_its_name_says(root: Path) -> None:
    shutil.copy(root / "Open.avsc", root / "Close.avsc")
    with pytest.raises(ValueError, match=r"does not define streams\.v1\.Close"):
        schema.violations(root)


def test_the_list_of_headers_is_of_the_current_schemas() -> None:
    root = schema.folder()
    assert (root / schema.HEADERS).read_text() == schema.headers(root)
