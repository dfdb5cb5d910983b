"""Frames, tables and properties of AMQP: what is taken, what is refused, and nothing else."""

from __future__ import annotations

import datetime
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base, commands, encode, header
from pamqp import frame as pamqp_frame

from streams.errors import TooLarge
from streams.gateway.amqp import delivering, frames, properties
from streams.gateway.amqp.errors import FRAME_ERROR, NOT_IMPLEMENTED, SYNTAX_ERROR, AMQPError
from streams.gateway.amqp.frames import FrameReader
from streams.gateway.amqp.properties import Envelope
from streams.gateway.amqp.tables import MAX_DEPTH, end_of_table

TABLE: dict[str, Any] = {
    "text": "é",
    "number": 1 << 40,
    "small": -3,
    "flag": True,
    "nothing": None,
    "real": 1.5,
    "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "list": [1, "two", [None, {"three": 3}]],
    "table": {"inner": {"deeper": "x"}},
}
METHODS: list[base.Frame] = [
    commands.Connection.StartOk({"capabilities": TABLE}, "PLAIN", "\0user\0token", "en_US"),
    commands.Connection.TuneOk(10, 4096, 5),
    commands.Connection.Open("/"),
    commands.Channel.Open(),
    commands.Channel.Close(200, "bye", 0, 0),
    commands.Exchange.Declare(exchange="e", exchange_type="direct", durable=True, arguments=TABLE),
    commands.Queue.Declare(queue="q", exclusive=True, arguments={"x-expires": 5}),
    commands.Queue.Bind(queue="q", exchange="e", routing_key="k"),
    commands.Basic.Qos(0, 10, True),
    commands.Basic.Consume(queue="q", consumer_tag="c", no_ack=True),
    commands.Basic.Nack(7, True, False),
    commands.Basic.Get(queue="q"),
    commands.Confirm.Select(),
]


def encoded(method: base.Frame, channel: int = 1) -> bytes:
    return pamqp_frame.marshal(method, channel)


def payload(method: base.Frame) -> bytes:
    return encoded(method)[7:-1]


def raw_properties(**fields: Any) -> bytes:
    return header.ContentHeader(0, 0, commands.Basic.Properties(**fields)).marshal()[12:]


@given(st.lists(st.sampled_from(METHODS), max_size=6), st.integers(1, 40))
def test_frames_are_the_same_however_the_bytes_arrive(sent: list[base.Frame], step: int) -> None:
    data = b"".join(map(encoded, sent))
    reader = FrameReader(4096)

    found = [
        frame
        for start in range(0, len(data), step)
        for frame in reader.feed(data[start : start + step])
    ]

    assert [frame.payload for frame in found] == [payload(method) for method in sent]
    for frame, method in zip(found, sent, strict=True):
        decoded = frames.decode(frame.payload)
        assert isinstance(decoded, base.Frame)
        assert dict(decoded) == dict(method)


def test_the_frequent_methods_mean_what_pamqp_says() -> None:
    publish = commands.Basic.Publish(exchange="e", routing_key="kéy", mandatory=True)
    assert frames.decode(payload(publish)) == frames.Publish("e", "kéy", True, False)
    assert frames.decode(payload(commands.Basic.Ack(1 << 40, True))) == frames.Ack(1 << 40, True)
    for mine, theirs in (
        (
            frames.deliver(3, b"tag", 9, True, "e", "k"),
            commands.Basic.Deliver("tag", 9, True, "e", "k"),
        ),
        (frames.get_ok(3, 9, False, "e", "k", 4), commands.Basic.GetOk(9, False, "e", "k", 4)),
        (frames.returned(3, 312, "no", "e", "k"), commands.Basic.Return(312, "no", "e", "k")),
    ):
        assert mine == encoded(theirs, 3)


@given(st.binary(max_size=3000), st.integers(4096, 8192))
def test_a_message_is_cut_into_frames_that_fit(body: bytes, frame_max: int) -> None:
    raw = raw_properties(content_type="text/plain")

    found = FrameReader(frame_max).feed(frames.content(5, raw, body * 9, frame_max))

    assert frames.decode_header(found[0].payload) == (len(body) * 9, raw)
    assert b"".join(frame.payload for frame in found[1:]) == body * 9


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x01\x00\x01\x00\x01\x00\x00", FRAME_ERROR),  # 64 KiB, before it has arrived
        (b"\x01\x00\x01\x00\x00\x00\x01x!", FRAME_ERROR),
        (b"\x09\x00\x01\x00\x00\x00\x01x\xce", FRAME_ERROR),
    ],
)
def test_a_frame_that_cannot_be_is_refused(data: bytes, code: int) -> None:
    with pytest.raises(AMQPError) as refused:
        FrameReader(4096).feed(data)

    assert (refused.value.code, refused.value.hard) == (code, True)


def test_a_method_that_there_is_not_is_refused() -> None:
    with pytest.raises(AMQPError) as refused:
        frames.decode(b"\x00\x63\x00\x63")

    assert (refused.value.code, refused.value.hard) == (NOT_IMPLEMENTED, True)


def nested(depth: int) -> bytes:
    table = encode.field_table({})
    for _ in range(depth - 1):
        entry = b"\x01aF" + table
        table = len(entry).to_bytes(4, "big") + entry
    return table


def test_tables_may_be_nested_so_deep_and_no_deeper() -> None:
    assert end_of_table(nested(MAX_DEPTH), 0) == len(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 3000):
        with pytest.raises(AMQPError, match="nested") as refused:
            end_of_table(nested(depth), 0)
        assert refused.value.code == SYNTAX_ERROR
    # In a method, too, where pamqp would overflow the stack
    with pytest.raises(AMQPError, match="nested"):
        frames.decode(b"\x00\x32\x00\x0a\x00\x00\x01q\x00" + nested(3000))


@given(st.randoms(use_true_random=False))
def test_mutated_frames_give_errors_of_amqp_and_no_others(rng: random.Random) -> None:
    data = bytearray(b"".join(encoded(method) for method in METHODS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        if rng.random() < 0.7:
            data[at] = rng.randrange(256)
        else:
            data[at : at + rng.randint(1, 9)] = rng.randbytes(rng.randint(0, 9))
    with suppress(AMQPError):
        for frame in FrameReader(4096).feed(bytes(data)):
            if frame.kind == frames.METHOD:
                frames.decode(frame.payload)


@given(st.binary(max_size=60), st.integers(0, 3))
def test_any_properties_are_read_or_refused(noise: bytes, keep: int) -> None:
    good = raw_properties(
        content_type="t", headers=TABLE, priority=3, expiration="9", message_id="m"
    )
    for raw in (noise, good[: keep * 7] + noise, noise[:2] + good):
        with suppress(AMQPError):
            properties.read(raw)


def test_properties_come_out_byte_for_byte() -> None:
    raw = raw_properties(
        content_type="application/json",
        headers=TABLE,
        delivery_mode=2,
        priority=7,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        message_type="t",
        timestamp=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    )
    envelope = Envelope("exchange", "routing.kéy", raw)

    assert properties.unpack(properties.pack(envelope)) == envelope
    read = properties.read(raw)
    assert read.priority == 7
    assert read.texts["correlation_id"] == "c"
    assert read.texts["expiration"] == "60000"


@pytest.mark.parametrize("headers", [None, {}, TABLE])
def test_a_count_of_deliveries_is_added_to_the_headers(headers: dict[str, Any] | None) -> None:
    raw = raw_properties(content_type="t", headers=headers, message_id="m")

    more = properties.read(properties.read(raw).with_headers({"x-delivery-count": 3}, {}))

    assert more.headers == {**(headers or {}), "x-delivery-count": 3}
    assert more.texts == {"content_type": "t", "message_id": "m"}


def test_a_header_that_was_there_is_replaced() -> None:
    raw = raw_properties(headers={"x-death": "old", "mine": 1}, message_id="m")

    more = properties.read(
        properties.read(raw).with_headers({"n": 2}, {"x-death": b"S\0\0\0\3new"})
    )

    assert more.headers == {"mine": 1, "n": 2, "x-death": "new"}
    assert more.texts == {"message_id": "m"}


def test_properties_that_are_too_long_are_refused() -> None:
    with pytest.raises(TooLarge):
        properties.pack(Envelope("e", "k", raw_properties(headers={"x": "y" * 13_000})))


def test_a_header_that_no_door_wrote_is_not_taken_for_an_envelope() -> None:
    for value in ("", "no base64!", "AQ", "AQFl"):
        assert properties.unpack(value) is None


def test_a_message_of_http_has_properties_of_its_own() -> None:
    content = {
        "id": "m1",
        "group": "orders",
        "at": 1_700_000_000_123,
        "kind": "text",
        "headers": {"color": "red"},
        "body": "hi",
        "tries": 1,
    }

    envelope, body, redelivered = delivering.unpacked(content)

    assert (envelope.exchange, envelope.routing_key) == ("amq.direct", "orders")
    assert (body, redelivered) == (b"hi", False)
    read = properties.read(envelope.properties)
    assert read.headers == {"color": "red"}
    assert read.texts == {"message_id": "m1", "type": "text"}
    direct, _, again = delivering.unpacked({**content, "group": "@q", "tries": 3})
    assert (direct.exchange, direct.routing_key, again) == ("", "q", True)
    assert properties.read(direct.properties).headers == {"color": "red", "x-delivery-count": 2}
