"""Checks the tables of fields in frames before anything decodes them.

A table may hold tables, so a decoder that calls itself could be made to overflow the stack, and
one that trusts lengths could read what is not there.  This one keeps its own stack.  It decodes
nothing: tables of messages pass through the door as they are.
"""

from __future__ import annotations

from typing import Final

from streams.gateway.amqp.errors import SYNTAX_ERROR, AMQPError

MAX_DEPTH: Final = 32
"""Tables and arrays in each other."""

_FIXED: Final = {
    ord(kind): size
    for kind, size in {
        "t": 1, "b": 1, "B": 1, "s": 2, "U": 2, "u": 2, "I": 4, "i": 4, "l": 8, "L": 8,
        "f": 4, "d": 8, "D": 5, "T": 8, "V": 0,
    }.items()
}  # fmt: skip
"""Sizes of values in bytes, by their type; `s` is a short integer, as RabbitMQ has it."""
_LONG: Final = frozenset(b"Sx")
_TABLE: Final = ord("F")
_ARRAY: Final = ord("A")


def end_of_table(data: bytes, start: int) -> int:
    """Check the table at `start`, and return where it ends.

    Raises:
        AMQPError: 502, it is malformed, too deep, or longer than `data`.
    """
    end = _end(data, start, len(data))
    open_ends, kinds = [end], [_TABLE]
    at = start + 4
    while open_ends:
        if at == open_ends[-1]:
            open_ends.pop()
            kinds.pop()
            continue
        if kinds[-1] == _TABLE:
            at += 1 + data[at]  # the name
        if at >= open_ends[-1]:
            raise _malformed()
        kind = data[at]
        at += 1
        fixed = _FIXED.get(kind)
        if fixed is not None:
            at += fixed
        elif kind in _LONG:
            at = _end(data, at, open_ends[-1])
        elif kind in (_TABLE, _ARRAY):
            if len(open_ends) == MAX_DEPTH:
                raise AMQPError(SYNTAX_ERROR, f"tables may be nested {MAX_DEPTH} deep at most")
            open_ends.append(_end(data, at, open_ends[-1]))
            kinds.append(kind)
            at += 4
        else:
            raise AMQPError(SYNTAX_ERROR, f"unknown type of field {kind:#x} in a table")
        if at > open_ends[-1]:
            raise _malformed()
    return end


def _end(data: bytes, start: int, limit: int) -> int:
    """Return the end of what begins with its length in four bytes at `start`."""
    if start + 4 > limit:
        raise _malformed()
    end = start + 4 + int.from_bytes(data[start : start + 4], "big")
    if end > limit:
        raise _malformed()
    return end


def _malformed() -> AMQPError:
    return AMQPError(SYNTAX_ERROR, "a table is malformed")
