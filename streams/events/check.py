"""`python -m streams.events.check [FOLDER]`: is every schema change one that logs survive?

With ``--headers`` instead of a folder it writes what `HEADERS.txt` must say.
"""

from __future__ import annotations

import sys
from pathlib import Path

from streams.events import schema


def main(arguments: list[str]) -> int:
    """Print what is wrong, one line each; return the exit status."""
    if arguments == ["--headers"]:
        sys.stdout.write(schema.headers(schema.folder()))
        return 0
    root = Path(arguments[0]) if arguments else schema.folder()
    found = schema.violations(root)
    if (root / schema.HEADERS).read_text() != schema.headers(root):
        found.append(f"{schema.HEADERS} is not of these schemas: write it with --headers")
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"schemas in {root.name}/ read every version of their history, and are read by it")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
