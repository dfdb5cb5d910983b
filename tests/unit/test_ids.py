"""Valid and invalid ids."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InvalidId
from streams.ids import (
    check_group,
    check_id,
    direct_group,
    direct_queue,
    is_destination,
    is_id,
    problem,
)


@pytest.mark.parametrize(
    "text", ["a", "resident-1", "Zoë", "部屋", "🦀" * 63, "x" * 255, "a b", "@q"]
)
def test_valid_ids(text: str) -> None:
    assert is_id(text)
    assert check_id(text) == text.encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("x" * 256, "is longer than 255 bytes"),
        ("🦀" * 64, "is longer than 255 bytes"),
        ("a\0b", "contains control characters"),
        ("a\n", "contains control characters"),
        ("\x7f", "contains control characters"),
        ("\x85", "contains control characters"),
        ("\ud800", "is not valid Unicode text"),
    ],
)
def test_invalid_ids(text: str, reason: str) -> None:
    assert not is_id(text)
    assert problem(text) == reason
    with pytest.raises(InvalidId, match=f"session {reason}"):
        check_id(text, "session")


@given(st.text(st.characters(codec=None), max_size=300))
def test_the_fast_path_agrees_with_the_rules(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = 0
    controls = any(unicodedata.category(character) == "Cc" for character in text)
    assert is_id(text) == (1 <= size <= 255 and not controls)


def test_a_direct_group_is_the_address_of_its_queue() -> None:
    # Given a queue with the longest possible id
    queue = "q" * 255
    # When a message is addressed to it
    group = direct_group(queue)
    # Then the group accepts messages, but not bindings
    assert is_destination(group)
    assert direct_queue(group) == queue
    assert direct_queue("g") is None
    with pytest.raises(InvalidId):
        check_group(group)
    with pytest.raises(InvalidId, match="begins with @"):
        check_group("@q")
    assert not is_destination("@")
    assert not is_destination("@" + "q" * 256)
