"""`python -m streams.events.generate`: write everything that follows from `schemas/*.avsc`.

With ``--check`` it writes nothing, names the files that are out of date, and exits with 1.
A changed schema is kept in `schemas/history` as the next version, if logs survive the change.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from streams.events import definitions, reference, schema, templates

ROOT: Final = Path(__file__).resolve().parent.parent.parent
"""The checkout."""


def files(root: Path) -> dict[Path, str]:
    """Return what each generated file of a checkout must hold."""
    schemas = root / "schemas"
    found = definitions.read(schemas)
    headers = schema.headers(schemas)
    by_name = dict(line.split() for line in headers.splitlines())
    return {
        schemas / schema.HEADERS: headers,
        root / "streams/events/records.py": templates.records(found),
        root / "streams/events/limits.py": templates.limits(found),
        root / "streams/events/checks.py": templates.checks(found),
        root / "streams/client/draft.py": templates.draft(found["Message"]),
        root / "docs/reference/events.md": reference.page(found, by_name),
    }


def keep_versions(schemas: Path) -> list[Path]:
    """Copy each current schema that is not in history there; return the new files."""
    added = []
    for path in sorted(schemas.glob("*.avsc")):
        versions = schema.history(schemas, path.stem)
        header = schema.current(schemas, path.stem).header
        if not any(version.header == header for version in versions):
            copy = schemas / "history" / f"{path.stem}.{len(versions) + 1}.avsc"
            copy.write_text(path.read_text())
            added.append(copy)
    return added


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the files, or check them; return the exit status."""
    checking = arguments == ["--check"]
    if arguments and not checking:
        print("usage: python -m streams.events.generate [--check]", file=sys.stderr)
        return 2
    added = [] if checking else keep_versions(root / "schemas")
    faults = schema.violations(root / "schemas")
    if faults:
        for path in added:
            path.unlink()
        print("\n".join(faults), file=sys.stderr)
        return 1
    stale = {
        path: text
        for path, text in files(root).items()
        if not path.exists() or path.read_text() != text
    }
    for path, text in stale.items():
        if checking:
            print(f"{path.relative_to(root)} is out of date", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for path in () if checking else (*added, *stale):
        print(f"wrote {path.relative_to(root)}")
    return 1 if checking and stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
