"""Which Avro schemas of somebody else may be used to read records.

The decoder follows a schema in C, without a limit of depth: one that contains itself lets a record
end the process, and one whose arrays have items of no bytes lets a few bytes stand for any number
of them.  A record stays in the log, so it would end every worker that folds it.  Knows schemas
as JSON, not records.
"""

from __future__ import annotations

from typing import Any, Final

from streams.fold import BadRecord

MOST_DEPTH: Final = 32
"""Levels of types within types."""
MOST_PARTS: Final = 1_000
"""Parts of a record, as fields of all of its records; what is named twice counts twice."""
MOST_PARTS_OF_ITEM: Final = 16
"""Parts of one item of an array, or of one value of a map: a record may hold a great many."""

_NOTHING: Final = (1, False)
_BYTES: Final = (1, True)
_Cost = tuple[int, bool]
"""How many parts a type has at most, and whether each value takes a byte at least."""


def check(written: dict[str, Any]) -> None:
    """Check a schema before it is parsed.

    Raises:
        BadRecord: it contains itself, is too large, or has arrays of nothing.
    """
    _Check().cost(written, 0)


class _Check:
    def __init__(self) -> None:
        self._named: dict[str, _Cost | None] = {}
        """By name without namespace; None while the type is being looked at."""

    def cost(self, kind: Any, depth: int) -> _Cost:
        if depth > MOST_DEPTH:
            raise BadRecord(f"the schema has more than {MOST_DEPTH} levels")
        found = self._of(kind, depth + 1)
        if found[0] > MOST_PARTS:
            raise BadRecord(f"the schema has more than {MOST_PARTS} parts")
        return found

    def _of(self, kind: Any, depth: int) -> _Cost:
        if isinstance(kind, list):  # a union: a number, and one of its types
            return 1 + max((self.cost(one, depth)[0] for one in kind), default=0), True
        if isinstance(kind, str):
            return self._of_name(kind)
        if not isinstance(kind, dict):
            raise BadRecord("the schema is not well-formed")
        match kind.get("type"):
            case "array" | "map" as name:
                return self._of_items(name, kind, depth)
            case "record" | "error":
                return self._of_record(kind, depth)
            case "fixed":
                self._named[self._new_name(kind)] = cost = _BYTES if kind.get("size") else _NOTHING
                return cost
            case "enum":
                self._named[self._new_name(kind)] = _BYTES
                return _BYTES
            case inner:
                return self.cost(inner, depth)

    def _of_name(self, name: str) -> _Cost:
        if name == "null":
            return _NOTHING
        short = name.rpartition(".")[2]
        if short not in self._named:
            return _BYTES  # a primitive type, or one that the parser does not know either
        cost = self._named[short]
        if cost is None:
            raise BadRecord(f"the type {name} of the schema contains itself")
        return cost

    def _of_items(self, name: str, kind: dict[str, Any], depth: int) -> _Cost:
        parts, has_bytes = self.cost(kind.get("items" if name == "array" else "values"), depth)
        if name == "array" and not has_bytes:
            raise BadRecord("the schema has an array whose items take no bytes")
        if parts > MOST_PARTS_OF_ITEM:
            raise BadRecord(f"an item of the schema has more than {MOST_PARTS_OF_ITEM} parts")
        return _BYTES

    def _of_record(self, kind: dict[str, Any], depth: int) -> _Cost:
        name = self._new_name(kind)
        self._named[name] = None
        parts, has_bytes = 1, False
        fields = kind.get("fields")
        for field in fields if isinstance(fields, list) else ():
            inner = field.get("type") if isinstance(field, dict) else None
            more, some = self.cost(inner, depth)
            parts, has_bytes = parts + more, has_bytes or some
        self._named[name] = parts, has_bytes
        return parts, has_bytes

    def _new_name(self, kind: dict[str, Any]) -> str:
        name = str(kind.get("name", "")).rpartition(".")[2]
        if name in self._named:  # in another namespace: references could not be told apart here
            raise BadRecord(f"the schema has two types with the name {name}")
        return name
