"""Reads and fingerprints the Avro schemas, and compares new versions with old ones.

Records are written with `schemas/<Name>.avsc`.  A log may hold records of every version in
`schemas/history/<Name>.<n>.avsc`, which includes the current one; Avro's schema resolution
reads each as if it were of the current version.  `python -m streams.events.check` refuses a
change for which that does not work.

The installed package has the schemas in `streams/schemas`, a checkout in `schemas`.
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
"""First bytes of Avro's single-object encoding, before the schema's fingerprint."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the schema of one record type.

    Logical types are removed, for two reasons.  Times stay plain numbers, so no date
    overflows.  And `avro` then fingerprints as the specification says: it turns
    `{"type": "long", "logicalType": ...}` into `{"type": "long"}` in the canonical form,
    where Java has `"long"`.
    """

    name: str
    path: Path
    plain: dict[str, Any]
    schema: avro.schema.Schema

    @property
    def header(self) -> bytes:
        """The first ten bytes of records of this version."""
        return MARKER + self.schema.fingerprint("CRC-64-AVRO")


def folder() -> Path:
    """Return the folder of this code's schemas."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parent / "schemas"


def current(root: Path, name: str) -> Version:
    """Read the version with which a record type is written."""
    return _read(root / f"{name}.avsc", name)


def history(root: Path, name: str) -> list[Version]:
    """Read every version of a record type that a log may hold, oldest first."""
    numbered = {
        int(path.name.split(".")[1]): path
        for path in (root / "history").glob(f"{name}.*.avsc")
        if path.name.split(".")[1].isdecimal()
    }
    return [_read(numbered[number], name) for number in sorted(numbered)]


HEADERS = "HEADERS.txt"
"""File with the first bytes of each type's records, for clients in other languages."""


def headers(root: Path) -> str:
    """Return the content of `HEADERS.txt`: on each line a type and its first ten bytes in hex."""
    names = sorted(path.stem for path in root.glob("*.avsc"))
    return "".join(f"{name} {current(root, name).header.hex()}\n" for name in names)


def violations(root: Path) -> list[str]:
    """Return the faults of the schemas in `root` that would make a log unreadable.

    Every version in history must be readable as the current one and the other way round, so
    that workers of different versions can run side by side once they know both versions.
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
    plain = without_logical_types(json.loads(path.read_text()))
    schema = avro.schema.parse(json.dumps(plain))
    if getattr(schema, "fullname", None) != f"streams.v1.{name}":
        raise ValueError(f"{path} does not define streams.v1.{name}")
    return Version(name, path, plain, schema)


def without_logical_types(schema: Any) -> Any:
    """Return a schema of JSON without its logical types; `Version` says why."""
    match schema:
        case dict():
            return {
                key: without_logical_types(value)
                for key, value in schema.items()
                if key != "logicalType"
            }
        case list():
            return [without_logical_types(value) for value in schema]
        case _:
            return schema
