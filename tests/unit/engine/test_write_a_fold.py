"""The page *Write a fold* shows working code, the same as the example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from streams.engine import EngineOptions

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/how-to/write-a-fold.md").read_text()
EXAMPLE = (ROOT / "examples/word_count.py").read_text()
FOLD, TEST, APP = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_its_fold_and_its_app_are_those_of_the_example() -> None:
    assert FOLD[FOLD.index("class WordCount") :].strip() in EXAMPLE
    assert APP[APP.index("brokers =") :].strip() in EXAMPLE


def test_its_test_passes() -> None:
    names: dict[str, Any] = {}
    exec(FOLD + TEST, names)

    names["test_words_are_counted"]()


def test_its_options_exist() -> None:
    section = PAGE[PAGE.index("## Options") : PAGE.index("## Read the table")]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert len(named) >= 10
    assert named <= set(EngineOptions.__dataclass_fields__)
