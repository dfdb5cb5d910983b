"""Patterns: `*` matches any run of characters, and no other character is special."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.security.patterns import Patterns


@pytest.mark.parametrize(
    ("pattern", "matched", "not_matched"),
    [
        ("chat.*", ["chat.", "chat.a", "chat.a.b"], ["chat", "chatx", "Chat.a", "xchat.a"]),
        ("chat.tavern", ["chat.tavern"], ["chat.taverns", "chat", "*"]),
        ("*", ["a", "chat.a", " "], ["@a", "@", "@*"]),
        ("@*", ["@a", "@@a"], ["a"]),
        ("@bob", ["@bob"], ["bob", "@bobby", "@@bob"]),
        ("*@bob", ["x@bob"], ["@bob"]),
        ("a*b*c", ["abc", "axbxc", "abbcc"], ["ac", "acb", "abcd"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("[ab]?", ["[ab]?"], ["a1", "b1"]),
        (".*", [".x"], ["x"]),
        ("**", ["a"], ["@a"]),
        ("Zoë*", ["Zoë 1"], ["Zoe 1"]),
    ],
)
def test_what_a_pattern_matches(pattern: str, matched: list[str], not_matched: list[str]) -> None:
    patterns = Patterns([pattern])

    assert [text for text in matched if not patterns.match(text)] == []
    assert [text for text in not_matched if patterns.match(text)] == []


def test_no_patterns_match_nothing() -> None:
    assert not Patterns().match("")
    assert not Patterns().match("a")


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=10))
def test_a_pattern_matches_as_in_a_shell(pattern: str, text: str) -> None:
    assert Patterns([pattern]).match(text) == fnmatch.fnmatchcase(text, pattern)


def test_no_pattern_is_slow() -> None:
    # Given a pattern for which a regular expression would take exponential time
    patterns = Patterns(["*a" * 1000 + "*b"])

    began = time.process_time()
    for _ in range(100):
        assert not patterns.match("a" * 255)

    assert time.process_time() - began < 1.0
