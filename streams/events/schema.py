"""Finds, reads and fingerprints the Avro schemas, and holds new versions against old ones.

`schemas/<Name>.avsc` is what is written now.  `schemas/history/<Name>.<n>.avsc` are the
versions that may stand in a log, the current one among them: a record of any of them is
read as if it were of the current one (Avro schema resolution).  `python -m
streams.events.check` refuses a change that this would not work for.

In the installed package the folder is `streams/schemas`, in a checkout the top-level one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import avro.schema
from avro.compatibility import (
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityType,
)

MARKER: Final = b"\xc3\x01"
"""First bytes of Avro's single-object encoding; the schema's fingerprint follows."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the schema of one record type.

    Logical types are taken out: times stay plain numbers, so that no date overflows, and
    `avro` fingerprints as the specification says (of `{"type": "long", "logicalType": ...}`
    it leaves `{"type": "long"}` in the canonical form, where Java has `"long"`).
    """

    name: str
    path: Path
    plain: dict[str, Any]
    schema: avro.schema.Schema

    @property
    def header(self) -> bytes:
        """The ten bytes that records of this version begin with."""
        return MARKER + self.schema.fingerprint("CRC-64-AVRO")


def folder() -> Path:
    """Return the folder of the schemas that belong to this code."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parent / "schemas"


def current(root: Path, name: str) -> Version:
    """Read the version of a record type that is written now."""
    return _read(root / f"{name}.avsc", name)


def history(root: Path, name: str) -> list[Version]:
    """Read every version of a record type that may stand in a log, oldest first."""
    numbered = {
        int(path.name.split(".")[1]): path
        for path in (root / "history").glob(f"{name}.*.avsc")
        if path.name.split(".")[1].isdecimal()
    }
    return [_read(numbered[number], name) for number in sorted(numbered)]


HEADERS = "HEADERS.txt"
"""Lists the bytes that each type's records begin with, for clients in other languages."""


def headers(root: Path) -> str:
    """Return what `HEADERS.txt` says of the current schemas: type and ten bytes in hex a line."""
    names = sorted(path.stem for path in root.glob("*.avsc"))
    return "".join(f"{name} {current(root, name).header.hex()}\n" for name in names)


def violations(root: Path) -> list[str]:
    """Say what about the schemas in `root` would make a log unreadable, one line each.

    Every version of history must be readable as the current one and the other way round,
    so that workers of different versions can run side by side once both know both.
    """
    found = []
    for path in sorted(root.glob("*.avsc")):
        name = path.stem
        now = current(root, name)
        versions = history(root, name)
        if not any(version.header == now.header for version in versions):
            found.append(
                f"{name}: the current schema is not in history; keep it as "
                f"history/{name}.{len(versions) + 1}.avsc, and change no older one"
            )
        for old in versions:
            for reader, writer in ((now, old), (old, now)):
                found += [
                    f"{name}: {reader.path.name} cannot read {writer.path.name}: {reason}"
                    for reason in _incompatibilities(reader, writer)
                ]
    return found


def _incompatibilities(reader: Version, writer: Version) -> list[str]:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(reader.schema, writer.schema)
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    return sorted(str(message) for message in result.messages) or ["incompatible"]


def _read(path: Path, name: str) -> Version:
    plain = _without_logical_types(json.loads(path.read_text()))
    schema = avro.schema.parse(json.dumps(plain))
    if getattr(schema, "fullname", None) != f"streams.v1.{name}":
        raise ValueError(f"{path} does not define streams.v1.{name}")
    return Version(name, path, plain, schema)


def _without_logical_types(schema: Any) -> Any:
    match schema:
        case dict():
            return {
                key: _without_logical_types(value)
                for key, value in schema.items()
                if key != "logicalType"
            }
        case list():
            return [_without_logical_types(value) for value in schema]
        case _:
            return schema
