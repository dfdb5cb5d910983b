"""Encodes and decodes events in Avro's single-object encoding.

An encoded event consists of `C3 01`, the eight bytes of its schema's CRC-64-AVRO fingerprint,
and the Avro body.  An event of an older version of its schema (`schemas/history`) is decoded
as if it were of the current version.  `encode` and `decode` work with records; `read` and
`encode_...` work with plain values, which is faster, for folds.

The input is untrusted.  Any fault raises `BadRecord`, and the memory allocated is at most a
small multiple of the input's size, which is limited.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields as fields_of
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, NamedTuple

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from streams.events import foreign_schema, schema
from streams.events.definitions import definitions
from streams.events.records import EVENTS, Event, Origin, Routed
from streams.fold import BadRecord

MAX_RECORD: Final = 2 * 1024 * 1024
"""Largest value of a record in bytes; the topics' max.message.bytes."""

_HEADER: Final = 10
_OBJECT: Final = re.compile(r"<_io\.BytesIO object at [^>]*>")
_KINDS: Final = {kind.__name__: kind for kind in EVENTS}
_ID_COLUMNS: Final = [
    (field.name, field.type == "array")
    for field in definitions()["Routed"].fields
    if field.format == "id-column"
]
_FIELDS: Final = {kind: tuple(f.name for f in fields_of(kind)) for kind in EVENTS}
_ORIGIN_FIELDS: Final = tuple(f.name for f in fields_of(Origin))


class _Reader(NamedTuple):
    name: str
    written: Any
    wanted: Any  # None when it is the same schema


def _load() -> tuple[dict[bytes, _Reader], dict[str, tuple[bytes, Any]]]:
    root = schema.folder()
    readers: dict[bytes, _Reader] = {}
    writers: dict[str, tuple[bytes, Any]] = {}
    for kind in EVENTS:
        name = kind.__name__
        now = schema.current(root, name)
        wanted = parse_schema(now.plain)
        for old in schema.history(root, name):
            readers[old.header] = _Reader(name, parse_schema(old.plain), wanted)
        readers[now.header] = _Reader(name, wanted, None)
        writers[name] = (now.header, wanted)
    return readers, writers


_READERS, _WRITERS = _load()


def _defaults(name: str, after: str) -> bytes:
    """Return the defaults of all fields that follow a field, as Avro writes them."""
    fields = _WRITERS[name][1]["fields"]
    first = [field["name"] for field in fields].index(after) + 1
    return b"".join(_default(field) for field in fields[first:])


def _default(field: dict[str, Any]) -> bytes:
    target = BytesIO()
    schemaless_writer(target, field["type"], field["default"])
    return target.getvalue()


# What follows the session: `at`, origin, and (of a Bind) replaces; new fields follow these.
_BIND_END: Final = _defaults("Bind", "replaces")
_UNBIND_END: Final = _defaults("Unbind", "origin")
_AT: Final = rb"[\x80-\xff]{0,8}[\x00-\x7f]"
_ORIGIN: Final = rb"\x02([\x80-\xff]{0,4}[\x00-\x7f])([\x80-\xff]{0,8}[\x00-\x7f])"
_PART: Final = rb"([\x80-\xff]{0,4}[\x00-\x7f])"
_LOG: Final = rb"([\x80-\xff]{0,9}[\x00-\x7f])"


def _tail(pattern: bytes) -> Callable[[bytes, int], re.Match[bytes] | None]:
    return re.compile(pattern, re.DOTALL).fullmatch


_MESSAGE: Final = _WRITERS["Message"][0]
# From `at` on all fields have their defaults; echo may have either value, as only route reads it.
_MESSAGE_MIDDLE: Final = _defaults("Message", "at").removesuffix(_defaults("Message", "persistent"))
_MESSAGE_END: Final = _defaults("Message", "echo")

_BIND_TAIL: Final = _tail(_AT + rb"\x00\x00" + re.escape(_BIND_END))
_UNBIND_TAIL: Final = _tail(_AT + rb"\x00" + re.escape(_UNBIND_END))
_ASKED_BIND_TAIL: Final = _tail(_AT + _ORIGIN + _PART + _LOG + rb"\x00" + re.escape(_BIND_END))
_ASKED_UNBIND_TAIL: Final = _tail(_AT + _ORIGIN + _PART + _LOG + re.escape(_UNBIND_END))
_MESSAGE_TAIL: Final = _tail(
    _AT + re.escape(_MESSAGE_MIDDLE) + rb"[\x00\x01]" + re.escape(_MESSAGE_END)
)

CHANGE_LAYOUT: Final = (_WRITERS["Bind"][0], _WRITERS["Unbind"][0], _BIND_END, _UNBIND_END)
"""For the native core: how a Bind and an Unbind begin, and what ends each (see `read_rest`)."""
MESSAGE_LAYOUT: Final = (_MESSAGE, _MESSAGE_MIDDLE, _MESSAGE_END)
"""For the native core: the parts of a usual Message (see `is_usual_message`)."""
ROUTED_HEADER: Final = _WRITERS["Routed"][0]
"""How a Routed begins."""


def encode(record: Event) -> bytes:
    """Return the record, encoded with the current schema of its type.

    Raises:
        ValueError: a string is not valid Unicode (it has a lone surrogate).
    """
    kind = type(record)
    values = {name: getattr(record, name) for name in _FIELDS[kind]}
    origin = values.get("origin")
    if origin is not None:
        values["origin"] = {name: getattr(origin, name) for name in _ORIGIN_FIELDS}
    if kind is Routed:
        for column, is_list in _ID_COLUMNS:
            values[column] = (
                list(map(_joined, values[column])) if is_list else _joined(values[column])
            )
    return _write(kind.__name__, values)


def decode(data: bytes | None) -> Event:
    """Decode a record.

    Raises:
        BadRecord: `data` is not an encoded record; the text says why.
    """
    name, values = read(data)
    if name == "Routed":
        for column, is_list in _ID_COLUMNS:
            values[column] = (
                tuple(map(_texts, values[column])) if is_list else _texts(values[column])
            )
    for field, content in values.items():
        if isinstance(content, list):
            values[field] = tuple(content)
    if values.get("origin") is not None:
        values["origin"] = Origin(**values["origin"])
    return _KINDS[name](**values)


def join_ids(ids: Sequence[bytes]) -> bytes:
    """Return ids as a column of Routed: each is followed by a NUL."""
    return b"\0".join(ids) + b"\0" if ids else b""


def _joined(ids: Sequence[str]) -> bytes:
    return join_ids([text.encode() for text in ids])


def split_ids(joined: bytes) -> list[bytes]:
    """Return the ids in a column of Routed.

    Raises:
        BadRecord: there is no NUL after the last id.
    """
    if not joined:
        return []
    if joined[-1]:
        raise BadRecord("broken Routed: a column of ids does not end with NUL")
    return joined[:-1].split(b"\0")


def _texts(joined: bytes) -> tuple[str, ...]:
    try:
        return tuple([ident.decode() for ident in split_ids(joined)])
    except UnicodeDecodeError as error:
        raise BadRecord(f"broken Routed: {error}") from error


def read(data: bytes | None) -> tuple[str, dict[str, Any]]:
    """Decode a record into its type's name and its fields, those of the current schema.

    The limits of the fields are not checked; see `checks`.  Columns of ids of a Routed stay
    joined; see `split_ids`.

    Raises:
        BadRecord: `data` is not a record with a known schema; the text says why.
    """
    if data is None:
        raise BadRecord("the record has no value")
    reader = _READERS.get(data[:_HEADER])
    if reader is None:
        raise BadRecord(_stranger(data))
    name, written, wanted = reader
    size = len(data)
    if size > MAX_RECORD:
        raise BadRecord(f"{name} has {size} bytes, more than {MAX_RECORD}")
    source = BytesIO(data)
    source.seek(_HEADER)
    try:
        values = schemaless_reader(source, written, wanted)
    except Exception as error:  # hostile bytes can make the decoder raise anything
        raise BadRecord(f"broken {name}: {_reason(error)}") from error
    rest = size - source.tell()
    if rest:
        raise BadRecord(f"broken {name}: {rest} bytes after its end")
    return name, values  # type: ignore[return-value]


def _reason(error: Exception) -> str:
    """Return what the decoder says, without addresses: the same whenever the record is folded."""
    return _OBJECT.sub("the record", str(error)) or type(error).__name__


class Foreign:
    """A schema of somebody else for one of our records."""

    __slots__ = ("_name", "_wanted", "_written")

    def __init__(self, name: str, written: Any) -> None:
        self._name = name
        self._written = written
        self._wanted = _WRITERS[name][1]

    def translate(self, data: bytes, start: int) -> bytes:
        """Return the record whose Avro body begins at `start`, encoded with our current schema.

        Raises:
            BadRecord: it cannot be read; the text says why.
        """
        name, size = self._name, len(data)
        if size > MAX_RECORD:
            raise BadRecord(f"{name} has {size} bytes, more than {MAX_RECORD}")
        source = BytesIO(data)
        source.seek(start)
        try:
            values = schemaless_reader(source, self._written, self._wanted)
            encoded = _write(name, values)  # type: ignore[arg-type]
        except Exception as error:  # hostile bytes can make the decoder raise anything
            raise BadRecord(f"broken {name}: {_reason(error)}") from error
        rest = size - source.tell()
        if rest:
            raise BadRecord(f"broken {name}: {rest} bytes after its end")
        return encoded


def foreign(written: dict[str, Any], names: Sequence[str]) -> Foreign:
    """Return somebody else's schema for one of the records `names`; namespaces do not count.

    Raises:
        BadRecord: it is not a schema for one of them; the text says why.
    """
    name = str(written.get("name", "")).rpartition(".")[2]
    if written.get("type") != "record" or name not in names:
        raise BadRecord(f"the schema is not one of {', '.join(names)}")
    foreign_schema.check(written)
    try:
        plain = schema.without_logical_types(written)
        # Avro compares names with their namespaces.
        renamed = {**plain, "name": name, "namespace": "streams.v1"}
        return Foreign(name, parse_schema(renamed, named_schemas={}))
    except Exception as error:  # anybody may register anything
        raise BadRecord(f"the schema cannot be used: {error}") from error


def change_prefixes(group: bytes) -> tuple[bytes, bytes] | None:
    """Return the first bytes of every Bind and every Unbind of a group; None for a long id.

    With `read_rest`, these read nearly all records of group-events several times faster than
    `read` does: those with the current schema, ids of at most 63 bytes, and no `replaces`.
    """
    if not 0 < len(group) < 64:
        return None
    column = bytes((2 * len(group),)) + group
    return _WRITERS["Bind"][0] + column, _WRITERS["Unbind"][0] + column


OriginTuple = tuple[int, int, int, int]
"""An origin: partition, offset, part, number of the log."""


def read_rest(
    data: bytes, start: int, bind: bool
) -> tuple[bytes, bytes, OriginTuple | None] | None:
    """Return queue, session and origin of a Bind (or Unbind) with a known prefix.

    The prefix has `start` bytes; an empty session means none.  Returns None for a record that
    only `read` can decode, or that is broken.
    """
    try:
        # A length below 64 is one byte: twice the length, by Avro's zigzag.
        size = data[start]
        end = start + 1 + (size >> 1)
        queue = data[start + 1 : end]
        session = b""
        if data[end] == 2:
            more = data[end + 1]
            begin, end = end + 2, end + 2 + (more >> 1)
            session = data[begin:end]
            if not session or more & 0x81 or not session.decode().isprintable():
                return None
        elif data[end] == 0:
            end += 1
        else:
            return None
        if size & 0x81 or not queue or not queue.decode().isprintable():
            return None
    except (IndexError, UnicodeDecodeError):
        return None
    if (_BIND_TAIL if bind else _UNBIND_TAIL)(data, end):
        return queue, session, None
    asked = (_ASKED_BIND_TAIL if bind else _ASKED_UNBIND_TAIL)(data, end)
    if asked is None:
        return None
    partition, offset, part, log = asked.groups()
    return queue, session, (_number(partition), _number(offset), _number(part), _log_number(log))


def is_usual_message(data: bytes) -> bool:
    """Tell whether `data` is a complete Message whose delivery needs no special treatment.

    Nearly all messages are, and this is several times faster than `read`.  They have the
    current schema, ids and a kind of at most 63 bytes, no headers, and defaults in the fields
    after `at`.  If this returns False, only `read` can tell.
    """
    if not data.startswith(_MESSAGE):
        return False
    try:
        place = _HEADER
        for _ in range(4):  # id, group, sender, kind
            size = data[place]
            if size & 0x81:
                return False
            place += 1 + (size >> 1)
        # One text for all: the lengths between are ASCII, so that no character spans two.
        data[_HEADER:place].decode()
        if data[place]:
            return False
        size, place = data[place + 1], place + 2
        if size > 127:  # the size of the body takes two bytes, or three
            size = size & 127 | (data[place] & 127) << 7
            place += 1
            if data[place - 1] > 127:
                size |= data[place] << 14
                place += 1
                if data[place - 1] > 127:
                    return False
        if size & 1:
            return False
        return _MESSAGE_TAIL(data, place + (size >> 1)) is not None
    except (IndexError, UnicodeDecodeError):
        return False


def encode_change(
    name: str,
    group: str,
    queue: str,
    session: str | None,
    at: int,
    origin: OriginTuple | None = None,
    replaces: str | None = None,
) -> bytes:
    """Encode a Bind or an Unbind, by `name`."""
    key, receiver = group.encode(), queue.encode()
    parts = [_WRITERS[name][0], _long(len(key)), key, _long(len(receiver)), receiver]
    parts += _text_or_null(session)
    parts.append(_long(at))
    if origin is None:
        parts.append(b"\0")
    else:
        parts.append(b"\2")
        parts += map(_long, origin)
    if name == "Bind":
        parts += _text_or_null(replaces)
        parts.append(_BIND_END)
    else:
        parts.append(_UNBIND_END)
    return b"".join(parts)


def _text_or_null(text: str | None) -> tuple[bytes, ...]:
    if text is None:
        return (b"\0",)
    encoded = text.encode()
    return b"\2", _long(len(encoded)), encoded


def encode_long(number: int) -> bytes:
    """Encode a number as Avro does."""
    return _long(number)


@lru_cache(maxsize=4096)
def _long(number: int) -> bytes:
    """Encode a number as Avro does: zigzag, seven bits per byte, lowest first."""
    rest = number << 1 ^ number >> 63
    written = bytearray()
    while rest > 127:
        written.append(rest & 127 | 128)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def _number(written: bytes) -> int:
    """Decode a number encoded by `_long`."""
    result = 0
    for byte in reversed(written):
        result = result << 7 | byte & 127
    return result >> 1 ^ -(result & 1)


_log_number: Callable[[bytes], int] = lru_cache(maxsize=64)(
    _number
)  # nearly all origins name the same log


def encode_message(values: dict[str, Any]) -> bytes:
    """Encode a Message from its fields; absent fields get their defaults."""
    return _write("Message", values)


def encode_values(name: str, values: dict[str, Any]) -> bytes:
    """Encode any event but Routed from its fields; absent fields get their defaults."""
    return _write(name, values)


def encode_routed(
    source: int,
    change_offsets: Sequence[int],
    change_kinds: bytes,
    change_groups: bytes,
    change_queues: bytes,
    change_sessions: bytes,
    delivery_offsets: Sequence[int],
    delivery_parts: Sequence[int],
    delivery_messages: Sequence[bytes],
    delivery_queues: Sequence[bytes],
    lane: int = 0,
    log: int = 0,
) -> bytes:
    """Encode a Routed from its columns; `join_ids` makes columns of ids."""
    values = {
        "source": source,
        "change_offsets": change_offsets,
        "change_kinds": change_kinds,
        "change_groups": change_groups,
        "change_queues": change_queues,
        "change_sessions": change_sessions,
        "delivery_offsets": delivery_offsets,
        "delivery_parts": delivery_parts,
        "delivery_messages": delivery_messages,
        "delivery_queues": delivery_queues,
        "lane": lane,
        "log": log,
    }
    return _write("Routed", values)


def _write(name: str, values: dict[str, Any]) -> bytes:
    header, written = _WRITERS[name]
    target = BytesIO()
    target.write(header)
    schemaless_writer(target, written, values)
    return target.getvalue()


def _stranger(data: bytes) -> str:
    if len(data) < _HEADER and data[:2] == schema.MARKER[: len(data)]:
        return f"truncated: {len(data)} bytes are not a record"
    if not data.startswith(schema.MARKER):
        return "not Avro in single-object encoding: the first bytes are not C3 01"
    return f"unknown schema: fingerprint {data[2:_HEADER].hex()}"
