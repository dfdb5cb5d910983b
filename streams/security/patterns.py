"""Patterns of ids, in which `*` matches any run of characters, including an empty one.

Every other character matches itself; case matters.  Matching examines each character of the
id a bounded number of times, so that no pattern in a token can make it slow.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.ids import DIRECT

ANY = "*"


class Patterns:
    """Patterns of destinations: groups, and queues with `@` in front.

    A pattern matches queues if and only if it begins with `@`: `*` matches no queue, and
    `@*` matches no group.
    """

    __slots__ = ("_exact", "_globs", "_patterns")

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = tuple(patterns)
        self._exact = frozenset(p for p in self._patterns if ANY not in p)
        self._globs = tuple(tuple(p.split(ANY)) for p in self._patterns if ANY in p)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def __repr__(self) -> str:
        return f"Patterns({list(self._patterns)!r})"

    def match(self, destination: str) -> bool:
        """Tell whether any pattern matches a group, or a queue (`@` and its id)."""
        if destination in self._exact:
            return True
        queue = destination.startswith(DIRECT)
        return any(
            queue == parts[0].startswith(DIRECT) and _matches(parts, destination)
            for parts in self._globs
        )


def _matches(parts: tuple[str, ...], text: str) -> bool:
    first, *middle, last = parts
    at, end = len(first), len(text) - len(last)
    if end < at or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
