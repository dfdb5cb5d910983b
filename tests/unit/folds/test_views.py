"""What readers get out of the tables."""

from __future__ import annotations

import pytest
from feeding import deliver, route
from test_deliver import bound, sent

from streams.events.records import Bind, Message, Open, Origin
from streams.folds import views
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
    assert views.member(feed.rows, "g", "q") == views.Member("q", "s", place)
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


def test_a_summary_counts() -> None:
    feed = deliver()
    assert views.queue_summary(feed.rows, "q") == views.QueueSummary(0, 0, None)
    feed(Open("q", "s"), bound(0, "g", "q"), bound(1, "h", "q"), sent(2, "q"), sent(3, "r"))
    assert views.queue_summary(feed.rows, "q") == views.QueueSummary(1, 2, "s")


def test_every_row_has_a_name() -> None:
    # Given rows of every kind
    members, queues = route(), deliver()
    members(Bind("g", "q", "s"), Message("m", "g", "me"), Message("m", "@q", "me"))
    members(Bind("g", "q", "s", origin=Origin(0, 3, 0)))
    queues(Open("q", "s"), bound(0, "g", "q"), sent(1, "q"))
    # When their keys are split
    names = {views.split_row_key("members", key) for key, _ in members.rows.items()} | {
        views.split_row_key("queues", key) for key, _ in queues.rows.items()
    }
    # Then each is what it is
    assert names == {
        views.RowKey("member", "g", "q"),
        views.RowKey("message id", "g", "m"),
        views.RowKey("message id", "@q", "m"),
        views.RowKey("expiry", "g", "m"),
        views.RowKey("expiry", "@q", "m"),
        views.RowKey("log time", "", ""),
        views.RowKey("watermark", "", 0),
        views.RowKey("binding", "q", "g"),
        views.RowKey("delivery", "q", 2 * 4096 + 1),
        views.RowKey("session", "q", ""),
    }


@pytest.mark.parametrize(
    ("table", "key"),
    [("members", b"m"), ("members", b"z\0"), ("members", b"bq\0g"), ("queues", b"iq\0short")],
)
def test_a_stranger_has_none(table: str, key: bytes) -> None:
    with pytest.raises(ValueError, match="no row of"):
        views.split_row_key(table, key)
