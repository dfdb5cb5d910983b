"""What readers get out of the tables."""

from __future__ import annotations

import pytest
from feeding import deliver, route
from test_deliver import bound, sent

from streams.events.records import Bind, Configure, Lease, Message, Open, Origin
from streams.folds import views
from streams.folds.row_keys import RowKey, bindings_bucket, inbox_bucket, split_row_key
from streams.kafka.partitioner import partition_of


def test_members_come_in_pages() -> None:
    feed = route()
    feed(*(Bind("g", queue) for queue in "badc"), Bind("g\x20", "z"))
    assert views.members(feed.rows, "g", limit=4) == (["a", "b", "c", "d"], None)
    assert views.members(feed.rows, "g", limit=2) == (["a", "b"], "b")
    assert views.members(feed.rows, "g", "b", 2) == (["c", "d"], None)
    assert views.members(feed.rows, "g", "bb", 1) == (["c"], "c")
    assert views.members(feed.rows, "none") == ([], None)


def test_one_member() -> None:
    feed = route(4, partition_of(b"g", 4))
    feed(Bind("g", "q", "s"))
    place = partition_of(b"q", 4)
    assert views.member(feed.rows, "g", "q") == views.Membership("q", "s", place)
    assert views.member(feed.rows, "g", "r") is None


def test_an_inbox_is_read_after_a_seq() -> None:
    feed = deliver()
    feed(sent(0, "q"), sent(1, "q"), sent(2, "q"))
    everything = list(views.inbox(feed.rows, "q"))
    assert [message.id for _, message in everything] == ["m0", "m1", "m2"]
    assert list(views.inbox(feed.rows, "q", everything[0][0])) == everything[1:]
    assert list(views.inbox(feed.rows, "q", 0, 2)) == everything[:2]
    assert list(views.inbox(feed.rows, "q", -5, 0)) == []
    assert list(views.inbox(feed.rows, "q", (1 << 63) - 1)) == []


def test_an_inbox_bindings_and_a_session_are_each_one_bucket() -> None:
    feed = deliver()
    assert views.session(feed.rows, "q") is None
    feed(Open("q", "s"), bound(0, "g", "q"), bound(1, "h", "q"), sent(2, "q"), sent(3, "r"))
    assert len(list(feed.rows.scan(inbox_bucket("q")))) == 1
    assert len(list(feed.rows.scan(bindings_bucket("q")))) == 2
    assert views.session(feed.rows, "q") == "s"


def test_deliveries_that_may_not_be_tried_again_are_counted() -> None:
    feed = deliver()
    feed(sent(0, "q"), sent(1, "q"), sent(2, "q"), Lease("q", limit=2))
    seqs = [seq for seq, _ in views.inbox(feed.rows, "q")]
    assert views.last_tries(feed.rows, "q", seqs) == 0  # there is no limit
    feed(Configure("q", max_tries=1))
    assert views.last_tries(feed.rows, "q", [*seqs, 7]) == 2
    feed(Configure("q", max_tries=2))
    assert views.last_tries(feed.rows, "q", seqs) == 0


def test_every_row_has_a_name() -> None:
    # Given rows of every kind
    members, queues = route(), deliver()
    members(Bind("g", "q", "s"), Message("m", "g", "me"), Message("m", "@q", "me"))
    members(Bind("g", "q", "s", origin=Origin(0, 3, 0)))
    queues(Open("q", "s"), bound(0, "g", "q"), sent(1, "q"))
    # When their keys are split
    names = {split_row_key("members", key) for key, _ in members.rows.items()} | {
        split_row_key("queues", key) for key, _ in queues.rows.items()
    }
    # Then each is what it is
    assert names == {
        RowKey("member", "g", "q"),
        RowKey("message id", "g", "m"),
        RowKey("message id", "@q", "m"),
        RowKey("expiry", "g", "m"),
        RowKey("expiry", "@q", "m"),
        RowKey("log time", "", ""),
        RowKey("watermark", "", 0),
        RowKey("binding", "q", "g"),
        RowKey("delivery", "q", 2 * 4096 + 1),
        RowKey("session", "q", ""),
    }


@pytest.mark.parametrize(
    ("table", "key"),
    [("members", b"m"), ("members", b"z\0"), ("members", b"bq\0g"), ("queues", b"iq\0short")],
)
def test_a_stranger_has_none(table: str, key: bytes) -> None:
    with pytest.raises(ValueError, match="has no row"):
        split_row_key(table, key)


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        ("members", b"ug\0h\0q", None),
        ("members", b"u\0g\0q", RowKey("covered sessions", "g", "q")),
        ("members", b"l\0g", RowKey("large group", "g", "")),
        ("members", b"w\0\0\3\1", RowKey("second watermark", "", 3)),
        ("members", b"x\0" + b"\0" * 8 + b"g", None),
        ("queues", b"w\0\0\3", RowKey("watermark", "", 3)),
        ("queues", b"w\0\0\3\1", RowKey("second watermark", "", 3)),
        ("queues", b"sq\0t", RowKey("session terms", "q", "")),
        ("queues", b"sq\0c", RowKey("closed session", "q", "")),
        ("queues", b"sq\0x", None),
        ("queues", b"z\0", RowKey("closed lately", "", "")),
        ("queues", b"vq\0" + b"\0" * 7 + b"\5", RowKey("transient", "q", 5)),
        ("queues", b"hq\0" + b"\0" * 7 + b"\5", RowKey("held", "q", 5)),
        ("queues", b"aq\0\5" + b"\0" * 7 + b"\6", RowKey("available", "q", 6)),
        ("queues", b"r\0" + b"\0" * 7 + b"\5", RowKey("shared message", "", 5)),
        ("queues", b"n\0" + b"\0" * 7 + b"\5", RowKey("sharers", "", 5)),
        ("queues", b"o\0q", RowKey("options", "q", "")),
        ("members", b"f\0", RowKey("foundation", "", "")),
        ("queues", b"f\0", RowKey("foundation", "", "")),
        ("members", b"c\0", RowKey("partitions", "", "")),
        ("queues", b"c\0", RowKey("partitions", "", "")),
        ("queues", b"y\0" + b"\0" * 7 + b"\5eq\0" + b"\0" * 8, RowKey("timer", "q", 5)),
    ],
)
def test_keys_of_each_kind(table: str, key: bytes, expected: RowKey | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="has no row"):
            split_row_key(table, key)
    else:
        assert split_row_key(table, key) == expected
