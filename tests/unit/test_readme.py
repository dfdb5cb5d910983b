"""The README stays short; the rest is in docs/."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 200
