from __future__ import annotations

import pytest

from streams.kafka.embedded.node import _escaped


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("/data/plain", "/data/plain"),
        ("C:\\data", "C:\\\\data"),
        ("/Wörld", "/W\\u00f6rld"),
        ("/😀", "/\\ud83d\\ude00"),
        ("two\nlines", "two\\u000alines"),
    ],
)
def test_values_of_properties_are_ascii(value: str, written: str) -> None:
    assert _escaped(value) == written
