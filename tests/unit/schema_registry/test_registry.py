"""Confluent's own client and serializer, over HTTP to a stand-in for a registry."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from streams.lab.registry_stand_in import StandIn

pytest.importorskip("authlib", reason="the extra registry is not installed")

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from streams.errors import Unavailable
from streams.events.codec import decode
from streams.events.records import Bind
from streams.events.schema import folder
from streams.fold import NotKnownYet
from streams.schema_registry.registry import Registry
from streams.schema_registry.translating import TYPES, translator


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as registry:
        yield registry


def test_schemas_are_registered_once(stand_in: StandIn) -> None:
    registry = Registry(stand_in.url)
    ids = [
        registry.register(f"streams.v1.{name}", (folder() / f"{name}.avsc").read_text())
        for name in (*TYPES, *TYPES)
    ]
    assert ids == [1, 2, 3, 1, 2, 3]
    assert registry.avro(1) == json.loads((folder() / "Bind.avsc").read_text())


def test_a_record_of_confluents_serializer_is_read(stand_in: StandIn) -> None:
    client = SchemaRegistryClient({"url": stand_in.url})
    serialize = AvroSerializer(client, (folder() / "Bind.avsc").read_text())
    context = SerializationContext("group-events", MessageField.VALUE)
    value = serialize({"group": "g", "queue": "q", "at": 7}, context)
    reader = translator(stand_in.url)
    assert reader is not None
    assert value is not None
    assert reader.concerns(value)
    assert decode(reader.translate(value)) == Bind("g", "q", at=7)


def test_an_unknown_id_and_a_registry_that_is_away_are_told_apart(stand_in: StandIn) -> None:
    registry = Registry(stand_in.url)
    with pytest.raises(
        NotKnownYet, match=f"schema id 999 is not in the registry at {stand_in.url}"
    ):
        registry.avro(999)
    # Another server's 404 says nothing of the id
    with pytest.raises(Unavailable, match="does not answer"):
        Registry(f"{stand_in.url}/elsewhere").avro(1)
    stand_in.stop()
    with pytest.raises(Unavailable, match=f"the schema registry at {stand_in.url} does not answer"):
        registry.avro(1)


def test_a_password_in_the_url_is_not_shown() -> None:
    assert Registry("http://user:secret@127.0.0.1:1/sub").shown == "http://127.0.0.1:1/sub"


def test_without_a_url_nothing_is_translated() -> None:
    assert translator("") is None
