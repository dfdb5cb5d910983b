import base64
import time
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.testing import MemoryRows
from streams.errors import Forbidden, StreamsError
from streams.events.codec import decode
from streams.events.limits import MAX_MESSAGE_HEADERS
from streams.events.records import (
    Ack,
    Bind,
    BindPattern,
    Close,
    Configure,
    Delete,
    Message,
    Nack,
    Open,
    Purge,
    Touch,
    Unbind,
    UnbindPattern,
)
from streams.fold import Fold, Record
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.route import Route
from streams.gateway.http.errors import HTTPError, to_http_error
from streams.gateway.ports import RecordToSend
from streams.gateway.writes.event_parser import EVENT_TYPES, EventParser, new_message_id
from streams.security.patterns import Patterns
from streams.security.permissions import ALL, Permissions
from streams.settings import Settings

SETTINGS = Settings(max_body_bytes=1000, partitions=1)
PARSER = EventParser(SETTINGS, ALL)


def message(**fields: Any) -> Message:
    topic, key, value, kind, message_id = PARSER.message("g", fields)[:5]
    assert (topic, key, kind) == (SETTINGS.group_events, b"g", "Message")
    decoded = decode(value)
    assert isinstance(decoded, Message)
    assert message_id == decoded.id
    return decoded


def test_a_message_has_defaults() -> None:
    # Given only a body, when it is taken in
    before = int(time.time() * 1000)
    made = message(body="é\n")

    # Then everything else is what DESIGN says of an absent field
    assert made.body == "é\n".encode()
    assert (made.kind, made.sender, dict(made.headers)) == ("text", "", {})
    assert made.expires_at is None
    assert made.persistent
    assert made.at >= before
    assert uuid.UUID(made.id).version == 7


LATER = 1_900_000_000_000
"""The year 2030, in milliseconds."""


@pytest.mark.parametrize("wrong", [LATER // 1000, LATER / 1000, LATER * 1000, LATER * 1_000_000])
def test_a_time_in_another_unit_than_milliseconds_is_refused(wrong: float) -> None:
    with pytest.raises(HTTPError, match="expires_at must be a time in milliseconds since 1970"):
        message(body="", expires_at=wrong)
    assert message(body="", expires_at=None).expires_at is None


def test_a_message_keeps_what_it_is_given() -> None:
    made = message(
        body_base64=base64.b64encode(b"\0\xff").decode(),
        id="i",
        sender="s",
        kind="vote",
        headers={"a": "b", "": ""},
        expires_at=LATER,
        persistent=False,
    )
    assert made == Message(
        "i", "g", "s", "vote", {"a": "b", "": ""}, b"\0\xff", made.at, LATER, False
    )


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "bad_field"),
        ({"body": "a", "body_base64": "YQ=="}, "bad_field"),
        ({"body": 1}, "bad_field"),
        ({"body_base64": 1}, "bad_base64"),
        ({"body_base64": "Y"}, "bad_base64"),
        ({"body_base64": "YQ"}, "bad_base64"),
        ({"body_base64": "é"}, "bad_base64"),
        ({"body": "", "id": ""}, "bad_id"),
        ({"body": "", "id": 1}, "bad_id"),
        ({"body": "", "id": "x" * 256}, "bad_id"),
        ({"body": "", "sender": "a\nb"}, "bad_id"),
        ({"body": "", "headers": []}, "bad_field"),
        ({"body": "", "headers": {"a": None}}, "bad_field"),
        ({"body": "", "expires_at": -1}, "bad_field"),
        ({"body": "", "expires_at": 1.5}, "bad_field"),
        ({"body": "", "expires_at": 2**63}, "bad_field"),
        ({"body": "", "expires_at": 0}, "bad_field"),
        ({"body": "", "expires_at": LATER // 1000}, "bad_field"),
        ({"body": "", "expires_at": LATER * 1000}, "bad_field"),
        ({"body": "", "expires_at": True}, "bad_field"),
        ({"body": "", "persistent": 0}, "bad_field"),
        ({"body": "", "persistent": None}, "bad_field"),
        ({"body": "", "perstent": True}, "bad_field"),
    ],
)
def test_wrong_messages_are_refused(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(HTTPError) as refused:
        PARSER.message("g", fields)
    assert (refused.value.status, refused.value.code) == (400, code)


def test_large_bodies_and_headers_are_refused_as_too_large() -> None:
    for fields in (
        {"body": "x" * 1001},
        {"body": "é" * 501},
        {"body_base64": base64.b64encode(b"x" * 1001).decode()},
        {"body": "", "headers": {"a": "x" * MAX_MESSAGE_HEADERS}},
    ):
        with pytest.raises(HTTPError) as refused:
            PARSER.message("g", dict(fields))
        assert refused.value.status == 413
    assert len(message(body="x" * 1000).body) == 1000


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ({"type": "bind", "group": "g", "queue": "q"}, Bind("g", "q")),
        ({"type": "bind", "group": "g", "queue": "q", "session": "s"}, Bind("g", "q", "s")),
        ({"type": "unbind", "group": "g", "queue": "q", "session": None}, Unbind("g", "q")),
        (
            {"type": "bind_pattern", "group": "g", "queue": "q", "pattern": "a.*.#"},
            BindPattern("g", "q", "a.*.#"),
        ),
        (
            {"type": "unbind_pattern", "group": "g", "queue": "q", "pattern": ""},
            UnbindPattern("g", "q", ""),
        ),
        ({"type": "ack", "queue": "q", "upto": 7}, Ack("q", 7)),
        ({"type": "ack", "queue": "q", "seqs": [3, 1]}, Ack("q", None, (3, 1))),
        ({"type": "open", "queue": "q", "session": "s"}, Open("q", "s")),
        (
            {"type": "open", "queue": "q", "session": "s", "groups": ["a", "b"]},
            Open("q", "s", ("a", "b")),
        ),
        ({"type": "close", "queue": "q", "session": "s"}, Close("q", "s")),
        (
            {
                "type": "open",
                "queue": "q",
                "session": "s",
                "ttl_seconds": 1.5,
                "presence": False,
            },
            Open("q", "s", (), 0, 1500, False),
        ),
        ({"type": "touch", "queue": "q", "session": "s"}, Touch("q", "s")),
        ({"type": "nack", "queue": "q", "seqs": [7]}, Nack("q", (7,))),
        (
            {
                "type": "nack",
                "queue": "q",
                "seqs": [7],
                "outcome": "extend",
                "delay_seconds": 2,
                "consumer": "c",
            },
            Nack("q", (7,), "extend", 2000, "c"),
        ),
        ({"type": "configure", "queue": "q"}, Configure("q")),
        (
            {
                "type": "configure",
                "queue": "q",
                "max_length": 1,
                "max_bytes": 2,
                "overflow": "reject",
                "max_tries": 3,
                "dead_letter": "d",
                "visibility_seconds": 4,
                "ttl_seconds": 5,
                "message_ttl_seconds": 0.006,
                "declared": "d",
                "only_new": True,
                "dead_letter_group": "g",
                "dead_letter_keyed": True,
            },
            Configure("q", 1, 2, "reject", 3, "d", 4000, 5000, 0, 6, "d", True, "g", True),
        ),
        ({"type": "purge", "queue": "q"}, Purge("q")),
        ({"type": "delete", "queue": "q"}, Delete("q")),
        (
            {"type": "message", "group": "@q", "body": "x", "id": "i"},
            Message("i", "@q", "", body=b"x"),
        ),
        (
            {"type": "message", "queue": "q" * 255, "body": "x", "id": "i"},
            Message("i", "@" + "q" * 255, "", body=b"x"),
        ),
    ],
)
def test_each_kind_of_line_makes_its_event(line: dict[str, Any], event: Any) -> None:
    topic, key, value, kind, *_ = PARSER.line(line)
    made = decode(value)
    of_group = isinstance(event, Bind | BindPattern | Unbind | UnbindPattern | Message)
    assert kind == type(event).__name__
    assert topic == (SETTINGS.group_events if of_group else SETTINGS.queue_events)
    assert key == (event.group if of_group else event.queue).encode()
    assert {**_fields(made), "at": 0} == _fields(event)


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"type": 1},
        {"type": ["bind"]},
        {"type": "Bind"},
        {"type": "bind", "group": "g"},
        {"type": "bind", "group": "@g", "queue": "q"},
        {"type": "unbind", "group": "@g", "queue": "q"},
        {"type": "bind_pattern", "group": "@g", "queue": "q", "pattern": "a"},
        {"type": "bind_pattern", "group": "g", "queue": "q"},
        {"type": "bind_pattern", "group": "g", "queue": "q", "pattern": None},
        {"type": "bind_pattern", "group": "g", "queue": "q", "pattern": "é" * 128},
        {"type": "bind_pattern", "group": "g", "queue": "q", "pattern": "a\n"},
        {"type": "message", "group": "g", "body": "", "headers": {"routing-key": "é" * 128}},
        {"type": "bind", "group": "g", "queue": "q", "at": 5},
        {"type": "message", "body": "x"},
        {"type": "message", "group": "@", "body": "x"},
        {"type": "message", "group": "g", "queue": "q", "body": "x"},
        {"type": "message", "queue": "q" * 256, "body": "x"},
        {"type": "ack", "queue": "q"},
        {"type": "ack", "queue": "q", "seqs": []},
        {"type": "ack", "queue": "q", "seqs": [1], "upto": 1},
        {"type": "ack", "queue": "q", "seqs": ["1"]},
        {"type": "open", "queue": "q", "session": "s", "groups": "g"},
        {"type": "open", "queue": "q", "session": "s", "groups": ["@g"]},
        {"type": "open", "queue": "q", "session": "s", "groups": [None]},
        {"type": "close", "queue": "q"},
        {"type": "touch", "queue": "q"},
        {"type": "purge", "queue": "q", "all": True},
        {"type": "nack", "queue": "q"},
        {"type": "nack", "queue": "q", "seqs": [1] * 1001},
        {"type": "nack", "queue": "q", "seqs": [1], "delay_seconds": -1},
        {"type": "configure", "queue": "q", "max_tries": True},
        {"type": "configure", "queue": "q", "dead_letter": "q"},
        {"type": "configure", "queue": "q", "ttl_seconds": 3.9},
        {"type": "configure", "queue": "q", "message_ttl_seconds": 0},
        {"type": "configure", "queue": "q", "declared": "x" * 4097},
        {"type": "configure", "queue": "q", "only_new": 1},
        {"type": "open", "queue": "q", "session": "s", "ttl_seconds": "5"},
        {"type": "message", "group": "g", "body": "", "priority": -1},
        {"type": "message", "group": "g", "body": "", "receipt": True},
    ],
)
def test_wrong_lines_are_refused(line: dict[str, Any]) -> None:
    with pytest.raises(HTTPError) as refused:
        PARSER.line(line)
    assert refused.value.status == 400


def test_an_event_over_the_limit_of_the_topic_is_refused_before_it_is_sent() -> None:
    groups = [f"{number:0>200}" for number in range(12_000)]
    with pytest.raises(StreamsError) as refused:
        PARSER.line({"type": "open", "queue": "q", "session": "s", "groups": groups})
    assert to_http_error(refused.value).status == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
IDS = st.sampled_from(["g", "@q", "@", "", "x" * 255, "@" + "x" * 255, "a\0b", "\x85", "ж/"])
LINES = st.fixed_dictionaries(
    {"type": st.sampled_from(["bind", "unbind", "message", "ack", "open", "close"]) | JSON},
    optional={
        "group": IDS | JSON,
        "queue": IDS | JSON,
        "session": IDS | JSON,
        "groups": st.lists(IDS, max_size=3) | JSON,
        "upto": st.integers(-1, 2**64) | JSON,
        "seqs": st.lists(st.integers(-1, 2**64), max_size=3) | JSON,
        "body": st.text(max_size=5) | JSON,
        "headers": st.dictionaries(st.text(max_size=3), st.text(max_size=3)) | JSON,
        "id": IDS | JSON,
        "expires_at": st.integers(-1, 2**64) | st.just(LATER) | JSON,
    },
)


@given(LINES)
def test_whatever_is_taken_in_the_folds_take_too(line: dict[str, Any]) -> None:
    # Given a line of any shape, when it is taken in
    record: RecordToSend | None = None
    status = 200
    try:
        record = PARSER.line(dict(line))
    except StreamsError as error:
        status = to_http_error(error).status

    # Then either it is refused as the client's fault
    assert status < 500
    if record is not None:
        # or the fold of its topic has nothing against it
        topic, key, value, *_ = record
        fold: Fold = (
            Route(MemoryRows(), 0, 1, SETTINGS.queue_events, LogNumbers(1, 2))
            if topic == SETTINGS.group_events
            else Deliver(MemoryRows(), 0, 1, SETTINGS.group_events, LogNumbers(1, 2))
        )
        for _ in fold.apply(Record(0, 0, 1, key, value)) or ():
            pass


def test_new_ids_sort_by_time() -> None:
    first = new_message_id()
    time.sleep(0.002)
    second = new_message_id()
    assert first < second
    assert abs(int(second.replace("-", "")[:12], 16) - time.time() * 1000) < 5000


def _fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in type(event).__slots__}


BOB = EventParser(
    SETTINGS,
    Permissions(
        subject="bob",
        publish=Patterns(["chat.*"]),
        bind=Patterns(["chat.*"]),
        read=Patterns(["@bob"]),
    ),
)


NOT_BOBS: list[dict[str, Any]] = [
    {"type": "bind", "group": "news", "queue": "bob"},
    {"type": "bind", "group": "chat.a", "queue": "ann"},
    {"type": "unbind", "group": "chat.a", "queue": "ann"},
    {"type": "bind_pattern", "group": "news", "queue": "bob", "pattern": "#"},
    {"type": "bind_pattern", "group": "chat.a", "queue": "ann", "pattern": "#"},
    {"type": "unbind_pattern", "group": "chat.a", "queue": "ann", "pattern": "#"},
    {"type": "message", "group": "news", "body": ""},
    {"type": "message", "queue": "bob", "body": ""},
    {"type": "message", "group": "chat.a", "body": "", "sender": "ann"},
    {"type": "ack", "queue": "ann", "upto": 1},
    {"type": "open", "queue": "ann", "session": "s"},
    {"type": "open", "queue": "bob", "session": "s", "groups": ["news"]},
    {"type": "close", "queue": "ann", "session": "s"},
    {"type": "touch", "queue": "ann", "session": "s"},
    {"type": "nack", "queue": "ann", "seqs": [1]},
    {"type": "configure", "queue": "ann"},
    {"type": "configure", "queue": "bob", "dead_letter": "ann"},
    {"type": "purge", "queue": "ann"},
    {"type": "delete", "queue": "ann"},
]


@pytest.mark.parametrize("line", NOT_BOBS)
def test_no_event_is_made_that_the_token_does_not_grant(line: dict[str, Any]) -> None:
    PARSER.line(dict(line))
    with pytest.raises(Forbidden):
        BOB.line(dict(line))


def test_every_type_of_event_is_tried() -> None:
    assert {line["type"] for line in NOT_BOBS} == set(EVENT_TYPES)


def test_events_that_the_token_grants_are_made() -> None:
    BOB.line({"type": "bind", "group": "chat.a", "queue": "bob"})
    BOB.line({"type": "open", "queue": "bob", "session": "s", "groups": ["chat.a"]})
    BOB.line({"type": "ack", "queue": "bob", "upto": 1})
    _, _, value, *_ = BOB.line({"type": "message", "group": "chat.a", "body": ""})
    message = decode(value)
    assert isinstance(message, Message)
    assert message.sender == "bob"


def test_dead_letters_go_only_where_messages_may() -> None:
    PARSER.configure("bob", {"dead_letter": "ann"})
    BOB.configure("bob", {})
    with pytest.raises(Forbidden):
        BOB.configure("bob", {"dead_letter": "ann"})
    BOB.configure("bob", {"dead_letter_group": "chat.1"})
    BOB.configure("bob", {"dead_letter_group": "chat.", "dead_letter_keyed": True})
    for fields in (
        {"dead_letter_group": "room"},
        {"dead_letter_group": "@ann"},
        {"dead_letter_group": "chat", "dead_letter_keyed": True},
    ):
        with pytest.raises(Forbidden):
            BOB.configure("bob", fields)


# What a rate limit counts -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "events"),
    [
        ({"type": "bind", "group": "g", "queue": "q"}, 2),
        ({"type": "unbind", "group": "g", "queue": "q"}, 1),
        ({"type": "close", "queue": "q", "session": "s"}, 1),
        ({"type": "open", "queue": "q", "session": "s", "groups": ["a", "b", "c"]}, 7),
        ({"type": "message", "group": "g", "body": "x"}, 1),
        ({"type": "message", "group": "g", "body": "x", "sender": "s", "receipt": True}, 2),
        ({"type": "message", "group": "g", "body": "x", "sender": "s", "receipt": False}, 1),
        ({"type": "ack", "queue": "q", "seqs": [1, 2, 3]}, 1),
        ({"type": "nack", "queue": "q", "seqs": [1, 2, 3]}, 3),
        (
            {"type": "nack", "queue": "q", "seqs": [1, 2], "outcome": "extend", "delay_seconds": 1},
            1,
        ),
        ({"type": "nack", "queue": "q", "seqs": [1, 2, 3], "outcome": "reject"}, 3),
    ],
)
def test_an_event_counts_as_what_it_causes(line: dict[str, Any], events: int) -> None:
    assert PARSER.line(line).events == events


@pytest.mark.parametrize("count", [0, 1, 110_000])
def test_a_session_counts_the_beginning_and_the_end_of_each_binding(count: int) -> None:
    groups = [f"{number:x}" for number in range(count)]
    assert PARSER.open("q", "s", {"groups": groups}).events == 1 + 2 * count


@pytest.mark.parametrize(
    ("line", "seq"),
    [
        ({"type": "ack", "queue": "q", "upto": 8193}, 8193),
        ({"type": "ack", "queue": "q", "seqs": [3, 9, 4]}, 9),
        ({"type": "nack", "queue": "q", "seqs": [7, 1]}, 7),
        ({"type": "purge", "queue": "q"}, 0),
    ],
)
def test_an_event_says_which_seq_it_names(line: dict[str, Any], seq: int) -> None:
    assert PARSER.line(line).seq == seq
