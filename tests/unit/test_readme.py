"""What the README says of settings is what the program knows."""

from __future__ import annotations

from pathlib import Path

from streams.settings import describe

README = Path(__file__).parents[2] / "README.md"


def settings_table() -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for setting in describe():
        default = f"`{setting.default}`" if setting.default else ""
        rows.append(f"| `{setting.variable}` | {default} | {setting.meaning} |")
    return "\n".join(rows)


def test_the_settings_table_is_complete() -> None:
    text = README.read_text()
    begin = text.index("\n", text.index("<!-- settings:")) + 1
    table = text[begin : text.index("<!-- end of settings -->")].strip()
    assert table == settings_table()
