"""Numbers with their nouns, for messages to people."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: "1 worker", "2,000 workers".

    Args:
        number: how many.
        one: the noun, or noun and verb, for one.
        many: the same for any other number; `one` with an s if it is left out.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
