"""Patterns of ids, in which `*` stands for any run of characters, the empty one included.

Everything else in a pattern stands for itself, letter case included.  Matching looks at each
character of the id a bounded number of times, whatever the pattern: nobody's token can make
it slow.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.ids import DIRECT

ANY = "*"


class Patterns:
    """A list of patterns of destinations: groups, and with `@` before it a queue.

    A pattern is about queues if and only if it begins with `@`: `*` matches no queue, and
    `@*` no group.
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
        """Tell whether a group, or `@` and a queue, is matched by any of the patterns."""
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
