"""Channels of AMQP without sockets: confirms, tags, limits, and messages in pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from streams.errors import Forbidden, InvalidId, TooLarge, Unavailable
from streams.gateway.amqp import arguments, names
from streams.gateway.amqp.channel import MOST_UNACKED, Channel, Consumer
from streams.gateway.amqp.confirms import Confirms
from streams.gateway.amqp.errors import AMQPError, to_amqp_error
from streams.gateway.amqp.frames import ContentHeader, Publish
from streams.gateway.amqp.handshake import CHANNEL_MAX, FRAME_MAX, Handshake
from streams.gateway.http.errors import HTTPError

PUBLISH = Publish("", "q", False, False)


@given(st.permutations(list(range(1, 13))), st.sets(st.integers(1, 12)), st.data())
def test_each_message_is_confirmed_once_whatever_the_order(
    order: list[int], failed: set[int], data: st.DataObject
) -> None:
    confirms = Confirms()
    assert [confirms.published() for _ in order] == sorted(order)
    outstanding, told = set(order), dict[int, bool]()
    for tag in order:
        due = confirms.settle(tag, tag not in failed)
        if due and data.draw(st.booleans()):
            continue  # settled together with the next
        for one in confirms.take():
            tags = {t for t in outstanding if t == one.tag or (one.multiple and t < one.tag)}
            assert one.tag in tags
            outstanding -= tags
            told |= dict.fromkeys(tags, one.ok)
    for one in confirms.take():
        tags = {t for t in outstanding if t == one.tag or (one.multiple and t < one.tag)}
        outstanding -= tags
        told |= dict.fromkeys(tags, one.ok)

    assert not outstanding
    assert {tag for tag, ok in told.items() if not ok} == failed


def test_many_messages_are_confirmed_in_one_frame() -> None:
    confirms = Confirms()
    for _ in range(100):
        confirms.settle(confirms.published(), True)

    assert confirms.take() == [(True, 100, True)]


def consumer(channel: Channel, prefetch: int = 0, *, no_ack: bool = False) -> Consumer:
    tag = channel.new_tag()
    channel.consumers[tag] = Consumer(channel, tag, "q", no_ack, False, prefetch)
    return channel.consumers[tag]


def test_tags_are_settled_alone_or_together() -> None:
    channel = Channel(1, 100)
    one = consumer(channel, 10)
    tags = [channel.delivered("q", seq, one, no_ack=False) for seq in (11, 12, 13, 14)]
    assert tags == [1, 2, 3, 4]
    assert one.room == 6

    assert [found.seq for found in channel.settle(2, False)] == [12]
    assert [found.seq for found in channel.settle(3, True)] == [11, 13]
    for tag, multiple in ((3, False), (2, False), (9, False), (9, True)):
        with pytest.raises(AMQPError, match="unknown delivery tag") as refused:
            channel.settle(tag, multiple)
        assert (refused.value.code, refused.value.hard) == (406, False)
    assert [found.seq for found in channel.settle(0, True)] == [14]
    assert one.room == 10


def test_limits_of_consumers_and_of_the_channel() -> None:
    channel = Channel(1, 100)
    first, second = consumer(channel, 2), consumer(channel)
    assert (first.room, second.room) == (2, MOST_UNACKED)
    channel.prefetch = 3
    assert (first.room, second.room) == (2, 3)
    channel.delivered("q", 1, second, no_ack=False)
    channel.delivered("q", 2, second, no_ack=False)
    assert (first.room, second.room) == (1, 1)
    channel.delivered("q", 3, None, no_ack=False)  # a basic.get has no limit
    assert (first.room, second.room) == (1, 1)
    channel.flows = False
    assert (first.room, second.room) == (0, 0)


def test_a_message_arrives_in_pieces() -> None:
    channel = Channel(1, 10)
    channel.begin(PUBLISH)
    assert channel.header(ContentHeader(5, b"\0\0")) is None
    assert channel.body(b"he") is None
    with pytest.raises(AMQPError, match="before the message was complete"):
        channel.check_method()
    assert channel.body(b"llo") == (PUBLISH, b"\0\0", b"hello")
    channel.check_method()
    channel.begin(PUBLISH)
    assert channel.header(ContentHeader(0, b"\0\0")) == (PUBLISH, b"\0\0", b"")


def test_pieces_in_the_wrong_place_are_refused() -> None:
    channel = Channel(1, 10)
    with pytest.raises(AMQPError, match="header came without") as refused:
        channel.header(ContentHeader(1, b""))
    assert (refused.value.code, refused.value.hard) == (505, True)
    with pytest.raises(AMQPError, match="body came without"):
        channel.body(b"x")
    channel.begin(PUBLISH)
    with pytest.raises(AMQPError, match="over the limit of 10") as refused:
        channel.header(ContentHeader(11, b""))
    assert (refused.value.code, refused.value.hard) == (311, False)
    channel.begin(PUBLISH)
    channel.header(ContentHeader(2, b""))
    with pytest.raises(AMQPError, match="longer than its header said"):
        channel.body(b"xyz")


def test_a_handshake_goes_step_by_step() -> None:
    handshake = Handshake()
    start = handshake.start()
    assert isinstance(start, commands.Connection.Start)
    assert start.server_properties["product"] == "Streams"
    client: Any = {"capabilities": {"connection.blocked": True}}
    login = handshake.login(commands.Connection.StartOk(client, "PLAIN", "\0user\0token"))
    assert login == ("user", "token")
    assert handshake.capabilities == {"connection.blocked": True}
    handshake.tuned(commands.Connection.TuneOk(0, 0, 7))
    assert (handshake.channel_max, handshake.frame_max, handshake.heartbeat) == (
        CHANNEL_MAX,
        FRAME_MAX,
        7,
    )
    assert not handshake.done
    handshake.opened(commands.Connection.Open("/"))
    assert handshake.done


def test_a_handshake_refuses_what_it_does_not_know() -> None:
    with pytest.raises(AMQPError) as refused:
        Handshake().login(commands.Connection.Open("/"))
    assert refused.value.code == 503
    with pytest.raises(AMQPError, match="only PLAIN") as refused:
        Handshake().login(commands.Connection.StartOk({}, "EXTERNAL", ""))
    assert refused.value.code == 403
    for limits in ((CHANNEL_MAX + 1, 0), (0, 100), (0, FRAME_MAX + 1)):
        handshake = Handshake()
        handshake.login(commands.Connection.StartOk({}, "PLAIN", "\0\0"))
        with pytest.raises(AMQPError) as refused:
            handshake.tuned(commands.Connection.TuneOk(*limits))
        assert refused.value.code == 530
    handshake = Handshake()
    handshake.login(commands.Connection.StartOk({}, "PLAIN", "\0\0"))
    handshake.tuned(commands.Connection.TuneOk())
    with pytest.raises(AMQPError, match="virtual host") as refused:
        handshake.opened(commands.Connection.Open("/other"))
    assert refused.value.code == 530


def test_groups_stand_for_exchanges() -> None:
    assert names.group("", "direct", "q") == "@q"
    assert names.group("amq.direct", "direct", "orders") == "orders"
    assert names.group("amq.direct", "direct", "@q") == "amq.direct/@q"
    assert names.group("amq.direct", "direct", "") == "amq.direct/"
    assert names.group("E", "direct", "k/2") == "E/k/2"
    assert names.group("E/k", "direct", "2") == "E%2Fk/2"
    assert names.group("F", "fanout", "whatever") == "F/"
    for exchange, key in (("", ""), ("E", "k\n"), ("E", "k" * 255), ("amq.direct", "\0")):
        with pytest.raises(AMQPError) as refused:
            names.group(exchange, "direct", key)
        assert (refused.value.code, refused.value.hard) == (406, False)
    with pytest.raises(AMQPError) as refused:
        names.group("", "direct", names.TABLE)
    assert refused.value.code == 403


ids = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


@given(ids, ids, ids, ids)
def test_no_two_exchanges_share_a_group(one: str, key: str, two: str, other: str) -> None:
    if (one, key) != (two, other):
        assert names.group(one, "direct", key) != names.group(two, "direct", other)
    assert not names.group(one, "direct", key).startswith("@")


def test_arguments_stand_for_options() -> None:
    given_ = {
        "x-expires": 5000,
        "x-max-length": 3,
        "x-max-length-bytes": 100,
        "x-overflow": "reject-publish",
        "x-delivery-limit": 4,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
        "x-queue-type": "quorum",
        "x-max-priority": 10,
        "x-message-ttl": 7,
    }
    assert arguments.read(given_, exclusive=False, auto_delete=False) == {
        "ttl_seconds": 5.0,
        "message_ttl_seconds": 0.007,
        "max_length": 3,
        "max_bytes": 100,
        "overflow": "reject",
        "max_tries": 5,
        "dead_letter_group": "@dead",
    }
    found = arguments.read({"x-message-ttl": 7}, exclusive=True, auto_delete=False)
    assert found == {"ttl_seconds": arguments.UNUSED_SECONDS, "message_ttl_seconds": 0.007}


@pytest.mark.parametrize(
    ("exchange", "kind", "key", "group", "keyed"),
    [
        ("E/1", "direct", "k", "E%2F1/k", None),
        ("E", "direct", None, "E/", True),
        ("E", "direct", "", "E/", False),
        ("amq.direct", "direct", "k", "k", None),
        ("F", "fanout", None, "F/", None),
        ("F", "fanout", "k", "F/", None),
    ],
)
def test_a_dead_letter_exchange_is_a_group(
    exchange: str, kind: str, key: str | None, group: str, keyed: bool | None
) -> None:
    given_ = {"x-dead-letter-exchange": exchange}
    if key is not None:
        given_["x-dead-letter-routing-key"] = key
    found = arguments.read(given_, exclusive=False, auto_delete=False, dead_letter_type=kind)
    assert found.pop("dead_letter_keyed", None) == keyed
    assert found == {"dead_letter_group": group}
    back, its_key = names.exchange_of(group)
    assert (back, its_key) == (exchange, key or None if kind == "direct" else None)


@pytest.mark.parametrize(
    ("given_", "code"),
    [
        ({"x-unknown": 1}, 406),
        ({"x-max-length": "3"}, 406),
        ({"x-max-length": True}, 406),
        ({"x-expires": 0}, 406),
        ({"x-dead-letter-routing-key": "k"}, 406),
        ({"x-dead-letter-exchange": 1}, 406),
        ({"x-dead-letter-exchange": "e", "x-dead-letter-routing-key": 1}, 406),
        ({"x-dead-letter-exchange": "amq.direct"}, 540),
        ({"x-dead-letter-exchange": ""}, 540),
        ({"x-message-ttl": 0}, 540),
        ({"x-message-ttl": -1}, 406),
        ({"x-message-ttl": "7"}, 406),
        ({"x-queue-type": "stream"}, 540),
        ({"x-overflow": "reject-publish-dlx"}, 540),
        ({"x-single-active-consumer": True}, 540),
    ],
)
def test_arguments_that_there_are_not_are_refused(given_: dict[str, object], code: int) -> None:
    with pytest.raises(AMQPError) as refused:
        arguments.read(given_, exclusive=False, auto_delete=False)

    assert refused.value.code == code


def test_errors_of_streams_have_a_code_of_amqp() -> None:
    codes = {
        TooLarge("x"): 311,
        Forbidden("x"): 403,
        InvalidId("x"): 406,
        Unavailable("x"): 541,
        HTTPError(404, "x", "x"): 404,
        HTTPError(400, "x", "x"): 406,
        HTTPError(429, "x", "x"): 541,
    }
    for error, code in codes.items():
        found = to_amqp_error(error)
        assert (found.code, found.hard) == (code, False)
    assert AMQPError(404, "é" * 300).reply_text.startswith("NOT_FOUND - é")
    assert len(AMQPError(404, "é" * 300).reply_text.encode()) <= 255
