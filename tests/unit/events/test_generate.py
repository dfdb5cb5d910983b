"""Generated files follow from the schemas, and a new field reaches all of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from streams.events import checks, definitions, generate, schema
from streams.events.codec import MAX_RECORD
from streams.events.limits import MAX_MESSAGE_BYTES
from streams.events.records import EVENTS
from streams.fold import BadRecord


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(schema.folder(), tmp_path / "schemas")
    assert generate.main([], tmp_path) == 0
    return tmp_path


def add_field(root: Path, **field: Any) -> None:
    path = root / "schemas" / "Message.avsc"
    content = json.loads(path.read_text())
    content["fields"].append(field)
    path.write_text(json.dumps(content))


SHADE: dict[str, Any] = {
    "name": "shade",
    "type": ["null", "string"],
    "default": None,
    "maxLength": 32,
    "pattern": "[a-z]*",
    "doc": "Shade to show the message in.",
}


def test_the_generated_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_file_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "streams/events/limits.py").write_text("MAX = 1\n")
    assert generate.main(["--check"], root) == 1
    assert "streams/events/limits.py is out of date" in capsys.readouterr().err


def test_a_new_field_reaches_every_generated_file(root: Path) -> None:
    # Given a new field of Message
    before = len(list((root / "schemas/history").iterdir()))
    add_field(root, **SHADE)

    # When everything is generated
    assert generate.main([], root) == 0

    # Then record, checks and reference have it, and the new version is kept
    assert "shade: str | None = None" in (root / "streams/events/records.py").read_text()
    assert "shade has" in (root / "streams/events/checks.py").read_text()
    assert "MAX_MESSAGE_SHADE: Final = 32" in (root / "streams/events/limits.py").read_text()
    assert SHADE["doc"] in (root / "docs/reference/events.md").read_text()
    assert len(list((root / "schemas/history").iterdir())) == before + 1
    assert schema.violations(root / "schemas") == []

    # And doing it again changes nothing
    assert generate.main(["--check"], root) == 0


def test_limits_and_docs_make_no_new_version(root: Path) -> None:
    before = schema.headers(root / "schemas")
    path = root / "schemas" / "Message.avsc"
    content = json.loads(path.read_text())
    content["doc"] = "Another text."
    content["fields"][0]["maxLength"] = 10
    path.write_text(json.dumps(content))
    assert schema.headers(root / "schemas") == before


def test_an_incompatible_change_writes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set((root / "schemas/history").iterdir())
    add_field(root, name="shade", type="string", doc="Without a default.")
    assert generate.main([], root) == 1
    assert "Message" in capsys.readouterr().err
    assert "shade" not in (root / "streams/events/records.py").read_text()
    assert set((root / "schemas/history").iterdir()) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"maxLenght": 32}, "Message.shade: unknown property maxLenght"),
        ({"type": "double"}, "Message.shade: type double is not supported"),
        ({"type": ["string", "null"]}, "Message.shade: a union must be"),
        ({"type": ["null", "boolean"]}, "Message.shade: a boolean must not be null"),
    ],
)
def test_a_definition_that_cannot_be_is_refused(
    root: Path, change: dict[str, Any], reason: str
) -> None:
    add_field(root, **{**SHADE, **change})
    with pytest.raises(ValueError, match=reason):
        definitions.read(root / "schemas")


def test_every_event_has_a_record_and_a_check() -> None:
    names = set(definitions.definitions())
    internal = {one.name for one in definitions.definitions().values() if one.internal}
    assert {kind.__name__ for kind in EVENTS} == names
    assert {*checks.GROUP_EVENT_CHECKS, *checks.QUEUE_EVENT_CHECKS} == names - internal


def test_a_generated_check_has_every_limit(root: Path) -> None:
    # Given a field with a length and a pattern
    add_field(root, **SHADE)
    assert generate.main([], root) == 0
    space: dict[str, Any] = {}
    exec((root / "streams/events/checks.py").read_text(), space)

    fields = json.loads((root / "schemas/Message.avsc").read_text())["fields"]
    defaults = {field["name"]: field.get("default") for field in fields}

    def check(shade: str | None) -> None:
        values = {**defaults, "id": "i", "group": "g", "body": b"", "shade": shade}
        space["check_message"](values)

    # Then what is within them passes, and nothing else
    for shade in (None, "", "red", "r" * 32):
        check(shade)
    for shade in ("r" * 33, "Red"):
        with pytest.raises(BadRecord, match="shade"):
            check(shade)


def test_the_largest_message_fits_a_record() -> None:
    assert MAX_MESSAGE_BYTES <= MAX_RECORD // 2
