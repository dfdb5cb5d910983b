"""Which records of another site cross."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from streams.bridge.crossing import SITE_HEADER, Copy, Crossing
from streams.events.codec import decode, encode
from streams.events.records import Bind, Message, Origin
from streams.fold import BadRecord, Record
from streams.kafka.partitioner import partition_of
from streams.security.patterns import Patterns

PARTITIONS = 4


def crossing(*groups: str, translator: Any = None) -> Crossing:
    return Crossing("east", PARTITIONS, Patterns(groups or ("*",)), translator)


def record(key: str, value: bytes | None, partition: int | None = None) -> Record:
    place = partition_of(key.encode(), PARTITIONS) if partition is None else partition
    return Record(place, 7, 1_000, key.encode(), value)


def copied(
    one: Crossing, made: Record, headers: Mapping[str, bytes | None] | None = None
) -> Copy | None:
    return one.copy(made, headers or {"type": b"Message"})


def message(group: str = "lobby", **fields: Any) -> Message:
    return Message(id="m1", group=group, sender="ann", body=b"hello", **fields)


def test_a_message_crosses_as_it_is_and_says_where_it_was_published() -> None:
    said = message(headers={"a": "b"}, priority=7, expires_at=5_000, receipt=True)

    copy = copied(crossing(), record("lobby", encode(said)))

    assert copy is not None
    assert (copy.key, decode(copy.value)) == (b"lobby", said)
    number = partition_of(b"lobby", PARTITIONS)
    assert copy.headers == (("type", b"Message"), ("streams-site", f"east/{number}/7".encode()))


def test_a_copy_does_not_cross_again() -> None:
    one = record("lobby", encode(message()))

    assert copied(crossing(), one, {SITE_HEADER: b"west/0/1"}) is None
    assert copied(crossing(), one, {SITE_HEADER: None}) is None


@pytest.mark.parametrize(
    ("patterns", "group", "crosses"),
    [
        (("chat-*",), "chat-1", True),
        (("chat-*",), "vote-1", False),
        (("chat-*", "vote-1"), "vote-1", True),
        (("*",), "presence:ann", True),
    ],
)
def test_groups_are_chosen_by_patterns(
    patterns: tuple[str, ...], group: str, crosses: bool
) -> None:
    copy = copied(crossing(*patterns), record(group, encode(message(group))))

    assert (copy is not None) is crosses


def test_what_concerns_one_site_alone_stays_there() -> None:
    origin = Origin(partition=0, offset=1, part=0, log=5)

    assert copied(crossing(), record("lobby", encode(Bind("lobby", "ann")))) is None
    assert copied(crossing(), record("@ann", encode(message("@ann")))) is None
    assert copied(crossing("@*"), record("@ann", encode(message("@ann")))) is None
    assert copied(crossing(), record("lobby", encode(message(origin=origin)))) is None


def test_what_the_other_site_refuses_does_not_cross() -> None:
    value = encode(message())
    other = (partition_of(b"lobby", PARTITIONS) + 1) % PARTITIONS

    assert copied(crossing(), record("lobby", value, other)) is None
    assert copied(crossing(), record("hall", value)) is None
    assert copied(crossing(), record("lobby", encode(message(priority=10)))) is None
    assert copied(crossing(), record("lobby", None)) is None
    assert copied(crossing(), Record(0, 7, 1_000, None, value)) is None
    broken = b"\xff"
    number = partition_of(broken, PARTITIONS)
    assert copied(crossing(), Record(number, 7, 1_000, broken, value)) is None


def test_a_record_of_a_newer_version_crosses_unread() -> None:
    value = b"\xc3\x01" + b"newer..." + b"body"

    copy = copied(crossing(), record("lobby", value))

    assert copy is not None
    assert copy.value == value


class Framed:
    """A translator of records that begin with a zero byte."""

    def __init__(self, value: bytes | None) -> None:
        self._value = value

    def translate(self, value: bytes) -> bytes:
        if self._value is None:
            raise BadRecord("unknown schema")
        return self._value


def test_a_record_of_the_other_sites_schema_registry_crosses_translated() -> None:
    one = crossing(translator=Framed(encode(message())))

    copy = copied(one, record("lobby", b"\0framed"))

    assert copy is not None
    assert decode(copy.value) == message()


@pytest.mark.parametrize("translator", [None, Framed(None)])
def test_a_framed_record_that_cannot_be_translated_does_not_cross(
    translator: Framed | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "streams.bridge"):
        copy = copied(crossing(translator=translator), record("lobby", b"\0framed"))

    assert copy is None
    (line,) = caplog.messages
    assert "@7 of site east, framed for a schema registry, does not cross" in line
