"""Records in the framing of a schema registry, read as our own."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer

from streams.events.codec import decode, encode
from streams.events.records import Ack, Bind, Message, Unbind
from streams.events.schema import folder
from streams.fold import BadRecord, NotKnownYet
from streams.schema_registry import translating
from streams.schema_registry.translating import TYPES, RegistryTranslator

AT = 1_700_000_000_000
OURS = {name: json.loads((folder() / f"{name}.avsc").read_text()) for name in (*TYPES, "Ack")}
SLIM = {
    "type": "record",
    "name": "Message",
    "namespace": "com.example.chat",
    "fields": [
        {"name": "group", "type": "string"},
        {"name": "colour", "type": "string", "default": "red"},
        {"name": "id", "type": "string"},
        {"name": "sender", "type": "string"},
        {"name": "body", "type": "bytes"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}


class Registry:
    """Schemas by id; counts how often it is asked."""

    def __init__(self, **schemas: Any) -> None:
        self.schemas = {int(name[1:]): schema for name, schema in schemas.items()}
        self.asked = 0

    def avro(self, number: int) -> dict[str, Any]:
        self.asked += 1
        found = self.schemas.get(number)
        if found is None:
            raise NotKnownYet(f"schema id {number} is not in the registry")
        if isinstance(found, Exception):
            raise found
        schema: dict[str, Any] = found
        return schema


def framed(number: int, schema: Any, values: dict[str, Any]) -> bytes:
    target = BytesIO()
    target.write(b"\0" + number.to_bytes(4, "big"))
    schemaless_writer(target, parse_schema(schema, named_schemas={}), values)
    return target.getvalue()


@pytest.mark.parametrize(
    "event",
    [
        Bind("g", "q", "s", 5),
        Unbind("räume", "q"),
        Message("m", "g", "me", headers={"a": "b"}, body=b"\0\1", priority=7, expires_at=9),
    ],
)
def test_our_own_schemas_are_read_as_our_own_records(event: Bind | Unbind | Message) -> None:
    name = type(event).__name__
    translator = RegistryTranslator(Registry(_7=OURS[name]))
    # The Avro body of single-object encoding is that of the registry's framing
    value = b"\0\0\0\0\7" + encode(event)[10:]
    assert translator.concerns(value)
    assert translator.translate(value) == encode(event)


def test_a_schema_of_somebody_else_is_resolved() -> None:
    # Given other fields in another order, another namespace, and a logical type
    registry = Registry(_300=SLIM)
    translator = RegistryTranslator(registry)
    values = {"group": "g", "id": "m", "sender": "me", "colour": "blue", "at": AT, "body": b"b"}
    for _ in range(3):
        found = decode(translator.translate(framed(300, SLIM, values)))
        assert found == Message("m", "g", "me", body=b"b", at=AT)
    assert registry.asked == 1


def test_other_values_are_left_alone() -> None:
    translator = RegistryTranslator(Registry())
    assert not translator.concerns(encode(Bind("g", "q")))
    assert not translator.concerns(None)
    assert not translator.concerns(b"")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"\0\0\0", "truncated: 3 bytes have no schema id"),
        (b"\0\0\0\0\1", "broken Message"),
        (
            framed(1, SLIM, {"group": "", "id": "", "sender": "", "body": b"", "at": 0}) + b"!",
            "1 bytes after",
        ),
        (b"\0\0\0\0\2" + encode(Ack("q"))[10:], "schema id 2: the schema is not one of Bind"),
        (b"\0\0\0\0\3x", "schema id 3: the schema cannot be used"),
        (b"\0\0\0\0\4\2q", "broken Bind"),
        (b"\0\0\0\0\5x", "of type JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_for_good(value: bytes, says: str) -> None:
    nonsense = {"type": "record", "name": "Bind", "fields": [{"name": "x", "type": "nonsense"}]}
    lacking = {"type": "record", "name": "Bind", "fields": [{"name": "x", "type": "string"}]}
    json_schema = BadRecord("schema id 5 is of type JSON, not AVRO")
    registry = Registry(_1=SLIM, _2=OURS["Ack"], _3=nonsense, _4=lacking, _5=json_schema)
    translator = RegistryTranslator(registry)
    for _ in range(2):
        with pytest.raises(BadRecord, match=says) as caught:
            translator.translate(value)
        assert not isinstance(caught.value, NotKnownYet)
    assert registry.asked <= 1


def test_an_unknown_id_is_asked_for_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    translator = RegistryTranslator(registry)
    value = framed(9, OURS["Bind"], {"group": "g", "queue": "q", "at": 0})
    for _ in range(3):
        with pytest.raises(NotKnownYet, match="schema id 9 is not in the registry"):
            translator.translate(value)
    assert registry.asked == 1
    # When the time is over, and it has been registered
    monkeypatch.setattr(translating, "UNKNOWN_SECONDS", -1.0)
    registry.schemas[9] = OURS["Bind"]
    assert decode(translator.translate(value)) == Bind("g", "q")
