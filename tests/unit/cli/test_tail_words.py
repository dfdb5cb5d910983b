"""What `streams tail` understands and what it shows, without a broker."""

from __future__ import annotations

import pytest

from streams.cli.tail import parse_since
from streams.errors import StreamsError
from streams.events.codec import encode
from streams.events.records import Message, Routed
from streams.operate import describe
from streams.operate.records import describe_change
from streams.operate.topic_names import full_name
from streams.settings import Settings

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1.5h", 5400), (" 2d ", 172_800), ("0s", 0)],
)
def test_a_span_of_time_is_counted_back(text: str, seconds: int) -> None:
    assert parse_since(text, NOW) == (NOW - seconds) * 1000


def test_a_date_is_a_date() -> None:
    assert parse_since("2026-08-20T18:00Z", NOW) == 1_787_248_800_000


@pytest.mark.parametrize("text", ["", "yesterday", "5x", "m", "-5m", "2026-13-01"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(StreamsError, match="90s, 15m, 2h or 1d"):
        parse_since(text, NOW)


def test_short_names_are_of_the_namespace() -> None:
    # Given a namespace
    settings = Settings.from_env({"STREAMS_NAMESPACE": "tenant"})
    # Then short names lead into it, and full names stay
    assert full_name(settings, "group-events") == "tenant.group-events"
    assert full_name(settings, "members-changelog") == "tenant.streams-members-changelog"
    assert full_name(settings, "tenant.group-events") == "tenant.group-events"
    assert full_name(settings, "other") == "other"


def test_columns_of_a_routed_become_entries_again() -> None:
    # Given a Routed with a change and a delivery
    message = Message("m", "g", "s", body=b"hello")
    routed = Routed(
        source=3,
        change_offsets=(7,),
        change_kinds=b"\x00",
        change_groups=("g",),
        change_queues=("q",),
        change_sessions=("",),
        delivery_offsets=(8,),
        delivery_parts=(0,),
        delivery_messages=(encode(message),),
        delivery_queues=(("q", "r"),),
    )
    # When it is described
    shown = describe.event(routed)
    # Then each entry is an object, with the message decoded
    assert shown["changes"] == [
        {"offset": 7, "change": "unbound", "group": "g", "queue": "q", "session": None}
    ]
    (delivery,) = shown["deliveries"]
    assert delivery["queues"] == ["q", "r"]
    assert delivery["message"]["body"] == "hello"


@pytest.mark.parametrize(
    ("table", "key", "value", "shown"),
    [
        (
            "members",
            b"mg\0q",
            b"\0\5s",
            {"row": "member", "group": "g", "queue": "q", "session": "s", "queue_partition": 5},
        ),
        (
            "queues",
            b"bq\0g",
            b"",
            {"row": "binding", "queue": "q", "group": "g", "session": None},
        ),
        ("queues", b"sq\0", b"s", {"row": "session", "queue": "q", "session": "s"}),
        (
            "members",
            b"dg\0m",
            (0).to_bytes(8, "big"),
            {"row": "message id", "group": "g", "id": "m", "at": "1970-01-01T00:00:00.000Z"},
        ),
        (
            "queues",
            b"w\0\0\3",
            (9).to_bytes(8, "big") + (2).to_bytes(4, "big"),
            {"row": "watermark", "source_partition": 3, "offset": 9, "part": 2},
        ),
        ("queues", b"?", b"\xff", {"row": "unknown", "key": "?", "value": "base64:/w=="}),
    ],
)
def test_rows_in_words(table: str, key: bytes, value: bytes, shown: dict[str, object]) -> None:
    assert describe.row(table, key, value) == shown


def test_times_that_are_none() -> None:
    assert describe.iso(-1) == "-"
    assert describe.iso(1 << 62) == "-"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (b"iq\0" + bytes(8), "delete delivery"),
        (b"o\0q", "delete options"),
        (b"sq\0t", "delete session terms"),
        (b"?", "delete unknown"),
    ],
)
def test_a_deleted_row_says_what_it_was(key: bytes, kind: str) -> None:
    assert describe_change("queues", key, None) == {"type": kind, "value": None}
