"""Between records and bytes: Avro's single-object encoding.

A record is `C3 01`, eight bytes of its schema's CRC-64-AVRO fingerprint, and the Avro body,
so that it names its own schema; one of an older version (`schemas/history`) is read as if it
were of the current one.  `encode` and `decode` are for everyone; `read` and the
`encode_...` of single types spare the folds the records.

What is read may come from anyone.  Whatever is wrong with it ends in `BadRecord`, and no
more is allocated than a small multiple of its size, which is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields as fields_of
from io import BytesIO
from typing import Any, Final, NamedTuple

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from streams.events import schema
from streams.events.records import EVENTS, MAX_RECORD, Event, Origin, Routed
from streams.fold import BadRecord

_HEADER: Final = 10
_ID_COLUMNS: Final = ("change_groups", "change_queues", "change_sessions")
_KINDS: Final = {kind.__name__: kind for kind in EVENTS}
_FIELDS: Final = {kind: tuple(f.name for f in fields_of(kind)) for kind in EVENTS}


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
_PLAIN: Final = {  # what follows `at` in a plain one: nulls
    _WRITERS["Bind"][0]: ("Bind", b"\0\0"),  # origin, replaces
    _WRITERS["Unbind"][0]: ("Unbind", b"\0"),  # origin
}


def encode(record: Event) -> bytes:
    """Return the record's bytes, by the current schema of its type.

    Raises:
        ValueError: a text is not valid Unicode (a lone surrogate).
    """
    kind = type(record)
    values = {name: getattr(record, name) for name in _FIELDS[kind]}
    origin = values.get("origin")
    if origin is not None:
        values["origin"] = _origin(origin.partition, origin.offset, origin.part)
    if kind is Routed:
        for column in _ID_COLUMNS:
            values[column] = join_ids(text.encode() for text in values[column])
        values["delivery_queues"] = [
            join_ids(text.encode() for text in queues) for queues in values["delivery_queues"]
        ]
    return _write(kind.__name__, values)


def decode(data: bytes | None) -> Event:
    """Return the record that `data` holds.

    Raises:
        BadRecord: it holds none; the text says why.
    """
    name, values = read(data)
    if name == "Routed":
        for column in _ID_COLUMNS:
            values[column] = _texts(values[column])
        values["delivery_queues"] = tuple(map(_texts, values["delivery_queues"]))
    for field, content in values.items():
        if isinstance(content, list):
            values[field] = tuple(content)
    if values.get("origin") is not None:
        values["origin"] = Origin(**values["origin"])
    return _KINDS[name](**values)


def join_ids(ids: Iterable[bytes]) -> bytes:
    """Return a column of ids as Routed has it: a NUL after each."""
    return b"".join([ident + b"\0" for ident in ids])


def split_ids(joined: bytes) -> list[bytes]:
    """Return the ids of a column of Routed.

    Raises:
        BadRecord: the last one does not end.
    """
    if not joined:
        return []
    if joined[-1]:
        raise BadRecord("broken Routed: an id without an end")
    return joined[:-1].split(b"\0")


def _texts(joined: bytes) -> tuple[str, ...]:
    try:
        return tuple([ident.decode() for ident in split_ids(joined)])
    except UnicodeDecodeError as error:
        raise BadRecord(f"broken Routed: {error}") from error


def read(data: bytes | None) -> tuple[str, dict[str, Any]]:
    """Return a record's type name and its fields, those of the current schema.

    Integers may be out of the range of their meaning, and ids any text.  Columns of ids of a
    Routed are as they are written; `split_ids` takes them apart.

    Raises:
        BadRecord: `data` holds no record of a schema that we know; the text says why.
    """
    if data is None:
        raise BadRecord("the record has no value")
    reader = _READERS.get(data[:_HEADER])
    if reader is None:
        raise BadRecord(_stranger(data))
    name, written, wanted = reader
    size = len(data)
    if size > MAX_RECORD:
        raise BadRecord(f"{name} of {size} bytes: more than {MAX_RECORD}")
    source = BytesIO(data)
    source.seek(_HEADER)
    try:
        values = schemaless_reader(source, written, wanted)
    except Exception as error:  # whatever a decoder does with hostile bytes: they are bad
        raise BadRecord(f"broken {name}: {str(error) or type(error).__name__}") from error
    rest = size - source.tell()
    if rest:
        raise BadRecord(f"broken {name}: {rest} bytes after its end")
    return name, values  # type: ignore[return-value]


def read_change(data: bytes | None) -> tuple[str, str, str, str] | None:
    """Return type name, group, queue and session of a Bind or Unbind, if it is a plain one.

    Nearly all records of group-events are: of the current schema, no id longer than 63
    bytes, neither origin nor replaces.  This is several times faster than `read`, which must
    look at whatever gets None here, and says what is wrong with it.  The session is empty
    for none.
    """
    if data is None:
        return None
    plain = _PLAIN.get(data[:_HEADER])
    if plain is None:
        return None
    name, nulls = plain
    try:
        # A length below 64 is one byte: twice the length, by Avro's zigzag.
        group_size = data[10]
        group_end = 11 + (group_size >> 1)
        queue_size = data[group_end]
        end = group_end + 1 + (queue_size >> 1)
        queue = data[group_end + 1 : end]
        branch = data[end]
        end += 1
        if branch == 0:
            session, session_size = b"", 0
        elif branch == 2:
            session_size = data[end]
            start = end + 1
            end = start + (session_size >> 1)
            session = data[start:end]
            if not session:
                return None
        else:
            return None
        last = end  # of the bytes of `at`
        while data[last] > 127:
            last += 1
        if (group_size | queue_size | session_size) & 0x81 or last - end > 8:
            return None
        if data[last + 1 :] != nulls:
            return None
        return name, data[11:group_end].decode(), queue.decode(), session.decode()
    except (IndexError, UnicodeDecodeError):
        return None


def encode_change(
    name: str,
    group: str,
    queue: str,
    session: str | None,
    at: int,
    origin: tuple[int, int, int] | None = None,
    replaces: str | None = None,
) -> bytes:
    """Encode a Bind or Unbind, as `name` says; `origin` is (partition, offset, part)."""
    values = {
        "group": group,
        "queue": queue,
        "session": session,
        "at": at,
        "origin": None if origin is None else _origin(*origin),
        "replaces": replaces,  # of a Bind only
    }
    return _write(name, values)


def encode_message(values: dict[str, Any]) -> bytes:
    """Encode a Message from its fields, `origin` as `encode_change` writes it or None."""
    return _write("Message", values)


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
) -> bytes:
    """Encode a Routed from its columns; those of ids are made by `join_ids`."""
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
    }
    return _write("Routed", values)


def _origin(partition: int, offset: int, part: int) -> dict[str, int]:
    return {"partition": partition, "offset": offset, "part": part}


def _write(name: str, values: dict[str, Any]) -> bytes:
    header, written = _WRITERS[name]
    target = BytesIO()
    target.write(header)
    schemaless_writer(target, written, values)
    return target.getvalue()


def _stranger(data: bytes) -> str:
    if len(data) < _HEADER and data[:2] == schema.MARKER[: len(data)]:
        return f"truncated: {len(data)} bytes are no record"
    if not data.startswith(schema.MARKER):
        return "not Avro in single-object encoding: the first bytes are not C3 01"
    return f"unknown schema: fingerprint {data[2:_HEADER].hex()}"
