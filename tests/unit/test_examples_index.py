"""The index of the examples lists each of them once, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_index_lists_every_example() -> None:
    listed = re.findall(r"^\| \[`[^`]+`\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text(), re.M)
    programs = [
        str(path.relative_to(EXAMPLES))
        for path in EXAMPLES.rglob("*")
        if path.suffix in (".py", ".sh", ".cpp", ".c") and "__pycache__" not in path.parts
    ]

    assert sorted(listed) == sorted(programs)
