"""`python -m streams.events.check [FOLDER]`: check that every schema can read its history.

With ``--headers`` instead of a folder it writes the content of `HEADERS.txt`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from streams.events import schema


def main(arguments: list[str]) -> int:
    """Print the faults, one per line; return the exit status."""
    if arguments == ["--headers"]:
        sys.stdout.write(schema.headers(schema.folder()))
        return 0
    root = Path(arguments[0]) if arguments else schema.folder()
    found = schema.violations(root)
    if (root / schema.HEADERS).read_text() != schema.headers(root):
        found.append(f"{schema.HEADERS} is out of date: run python -m streams.events.generate")
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"schemas in {root.name}/ and all versions in their history can read each other")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
