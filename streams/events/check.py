"""`python -m streams.events.check [FOLDER]`: is every schema change one that logs survive?"""

from __future__ import annotations

import sys
from pathlib import Path

from streams.events import schema


def main(arguments: list[str]) -> int:
    """Print what is wrong, one line each; return the exit status."""
    root = Path(arguments[0]) if arguments else schema.folder()
    found = schema.violations(root)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"schemas in {root.name}/ read every version of their history, and are read by it")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
