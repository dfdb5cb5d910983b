"""What the deliver fold does when time passes: sessions, presence, expiry, receipts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import Feed, deliver
from test_deliver import asked, bound, inbox, seqs

from streams.engine.testing import MemoryRows
from streams.events.codec import encode
from streams.events.records import (
    Ack,
    Bind,
    Close,
    Configure,
    Delete,
    Event,
    Lease,
    Message,
    Nack,
    Open,
    Origin,
    Routed,
    Tick,
    Touch,
    Unbind,
)
from streams.folds import views
from streams.folds.deliver import Deliver
from streams.folds.front import SIZE, Front
from streams.folds.row_keys import TIMERS
from streams.folds.sessions import AT_ONCE


def delivered(offset: int, *queues: str, **fields: Any) -> Routed:
    """Return a message on its way to queues."""
    message = Message(f"m{offset}", "g", fields.pop("sender", "me"), **fields)
    return Routed(
        0,
        delivery_offsets=(offset,),
        delivery_parts=(0,),
        delivery_messages=(encode(message),),
        delivery_queues=(queues,),
    )


def told(outputs: list[Event]) -> list[tuple[str, str, Any]]:
    """Return group, kind and body of the messages among what was asked for."""
    return [
        (output.group, output.kind, orjson.loads(output.body))
        for output in outputs
        if isinstance(output, Message)
    ]


def due_rows(feed: Feed[Deliver]) -> int:
    return sum(1 for _ in feed.rows.scan(TIMERS))


def presence(state: str, session: str = "s", queue: str = "q") -> tuple[str, str, Any]:
    body = {"queue": queue, "state": state, "session": session}
    return (f"presence:{queue}", "presence", body)


class TestManyAtOnce:
    def test_sessions_closed_at_once_are_cleared_away_by_ticks(self) -> None:
        # Given a hundred sessions with a binding each
        feed = deliver()
        queues = [f"q{number:02}" for number in range(100)]
        for number, queue in enumerate(queues):
            feed(Open(queue, "s", ("g",)), bound(number, "g", queue, "s"))
        # When all are closed in one millisecond
        outputs = feed(*(Close(queue, "s") for queue in queues), at=2000)
        # Then all are closed at once, their watchers told, and a few bindings on their way out
        assert not any(views.session(feed.rows, queue) for queue in queues)
        assert len(told(outputs)) == 100
        assert asked(outputs) == [Unbind("g", queue, "s") for queue in queues[:AT_ONCE]]
        # And each Tick sees to some of the others, in order, until nothing is due
        cleared = []
        while feed.fold.next_due is not None:
            few = asked(feed(Tick(), at=2001))
            assert 0 < len(few) <= 32
            cleared += few
        assert cleared == [Unbind("g", queue, "s") for queue in queues[AT_ONCE:]]

    @pytest.mark.parametrize("again", ["s", "t"])
    def test_a_session_that_opens_meanwhile_is_cleared_away_before(self, again: str) -> None:
        # Given sessions closed at once, the last of which waits for a Tick
        feed = deliver()
        queues = [f"q{number}" for number in range(AT_ONCE + 1)]
        for number, queue in enumerate(queues):
            feed(Open(queue, "s", ("g",)), bound(number, "g", queue, "s"))
        feed(*(Close(queue, "s") for queue in queues), at=2000)
        assert feed.fold.next_due == 2000
        # When its queue has a session again, then what the first left goes before that begins
        outputs = asked(feed(Open(queues[-1], again, ("g",)), at=2000))
        assert outputs == [Unbind("g", queues[-1], "s"), Bind("g", queues[-1], again)]
        assert feed.fold.next_due is None


class TestHeartbeats:
    def test_a_session_that_falls_silent_is_closed(self) -> None:
        # Given a session that may be silent for 100 ms, with a binding
        feed = deliver()
        feed(Open("q", "s", ("g",), ttl_ms=100), bound(0, "g", "q", "s"), at=1000)
        due = feed.fold.next_due
        assert due == 1100
        # When time passes, but not enough
        assert feed(Tick(), at=1099) == []
        # And then is over
        outputs = feed(Tick(), at=1100)
        # Then it is closed as Close does, and nothing is due any more
        assert asked(outputs) == [Unbind("g", "q", "s")]
        assert told(outputs) == [presence("offline")]
        assert views.session(feed.rows, "q") is None
        assert feed.fold.next_due is None
        assert due_rows(feed) == 0

    def test_a_heartbeat_keeps_it(self) -> None:
        feed = deliver()
        feed(Open("q", "s", ttl_ms=100), at=1000)
        feed(Touch("q", "s"), at=1080)
        assert feed(Tick(), at=1100) == []
        assert feed.fold.next_due == 1180
        assert views.session(feed.rows, "q") == "s"
        assert told(feed(Tick(), at=1180)) == [presence("offline")]

    def test_a_heartbeat_of_another_session_does_not(self) -> None:
        feed = deliver()
        feed(Open("q", "s", ttl_ms=100), at=1000)
        feed(Touch("q", "t"), Touch("r", "s"), at=1080)
        assert told(feed(Tick(), at=1100)) == [presence("offline")]

    @pytest.mark.parametrize("ttl_ms", [None, 500])
    def test_opening_again_sets_it_anew(self, ttl_ms: int | None) -> None:
        feed = deliver()
        feed(Open("q", "s", ttl_ms=100), at=1000)
        assert feed(Open("q", "s", ttl_ms=ttl_ms), at=1050) == []
        assert feed.fold.next_due == (1550 if ttl_ms else None)
        assert feed(Tick(), at=1200) == []
        assert due_rows(feed) == (1 if ttl_ms else 0)

    def test_the_next_session_is_not_closed_for_the_last(self) -> None:
        feed = deliver()
        feed(Open("q", "old", ttl_ms=100), Open("q", "new"), at=1000)
        assert feed(Tick(), at=5000) == []
        assert views.session(feed.rows, "q") == "new"

    def test_a_tick_too_many_does_nothing(self) -> None:
        feed = deliver()
        feed(Open("q", "s", ttl_ms=100), at=1000)
        before = list(feed.rows.items())
        assert feed(Tick(), Tick(), at=1000) == []
        assert list(feed.rows.items()) == before


class TestPresence:
    def test_coming_and_going(self) -> None:
        feed = deliver()
        (online,) = feed(Open("q", "s"), at=2000)
        assert told([online]) == [presence("online")]
        assert isinstance(online, Message)
        assert (online.sender, online.origin, online.at) == ("q", Origin(0, 0, 0), 2000)
        assert told(feed(Close("q", "s"))) == [presence("offline")]

    def test_a_takeover_does_not_flap(self) -> None:
        feed = deliver()
        feed(Open("q", "old"))
        assert told(feed(Open("q", "new"))) == [presence("online", "new")]
        assert told(feed(Close("q", "old"))) == []

    def test_the_same_again_is_no_news(self) -> None:
        feed = deliver()
        feed(Open("q", "s"))
        assert told(feed(Open("q", "s"))) == []

    def test_one_that_hides(self) -> None:
        feed = deliver()
        assert told(feed(Open("q", "s", presence=False))) == []
        assert told(feed(Open("q", "s"))) == [presence("online")]
        assert told(feed(Open("q", "t", presence=False))) == [presence("offline")]
        assert told(feed(Close("q", "t"))) == []

    def test_a_queue_whose_group_would_be_too_long_has_none(self) -> None:
        feed = deliver()
        assert told(feed(Open("q" * 250, "s"))) == []


class TestExpiry:
    def test_nothing_comes_late(self) -> None:
        feed = deliver()
        feed(delivered(0, "q", expires_at=1000), delivered(1, "q", expires_at=1001), at=1000)
        assert inbox(feed) == ["m1"]

    def test_it_is_removed_in_time(self) -> None:
        # Given deliveries that expire, one of them acked
        feed = deliver()
        feed(delivered(0, "q", "r", expires_at=1100), delivered(1, "q", expires_at=1200), at=1000)
        feed(delivered(2, "q"), Ack("q", seqs=(4096 + 1,)))
        assert due_rows(feed) == 2
        # When it is time
        feed(Tick(), at=1150)
        # Then it is gone, and the rest is there
        assert inbox(feed) == ["m2"]
        assert inbox(feed, "r") == []
        assert due_rows(feed) == 0

    def test_a_read_does_not_show_it(self) -> None:
        feed = deliver()
        feed(delivered(0, "q", expires_at=1100), delivered(1, "q"), at=1000)
        shown = views.deliveries(feed.rows, "q", limit=1, now=1100)
        assert [message.id for _, _, message in shown] == ["m1"]

    def test_much_that_is_due_takes_several_ticks(self) -> None:
        feed = deliver()
        for number in range(0, 2500, 500):
            queues = [f"q{at}" for at in range(number, number + 500)]
            feed(delivered(number, *queues, expires_at=1100), at=1000)
        for left in (1500, 500, 0):
            assert feed.fold.next_due == 1100
            feed(Tick(), at=1100)
            assert due_rows(feed) == left
        assert feed.fold.next_due is None


class TestMessageTtl:
    def test_a_message_expires_after_its_time_in_the_inbox(self) -> None:
        feed = deliver()
        feed(Configure("q", message_ttl_ms=100), at=500)
        feed(delivered(0, "q"), at=1000)
        assert feed.fold.next_due == 1100
        feed(Tick(), at=1099)
        assert inbox(feed) == ["m0"]
        feed(Tick(), at=1100)
        assert (inbox(feed), due_rows(feed)) == ([], 0)

    @pytest.mark.parametrize(("own", "due"), [(1050, 1050), (1100, 1100), (5000, 1100)])
    def test_the_earlier_end_counts(self, own: int, due: int) -> None:
        feed = deliver()
        feed(Configure("q", message_ttl_ms=100), delivered(0, "q", expires_at=own), at=1000)
        assert feed.fold.next_due == due
        feed(Tick(), at=due)
        assert (inbox(feed), due_rows(feed)) == ([], 0)

    @pytest.mark.parametrize("body", [b"small", b"x" * 4096])
    def test_other_queues_of_the_message_keep_it(self, body: bytes) -> None:
        feed = deliver()
        feed(Configure("q", message_ttl_ms=100), delivered(0, "p", "q", "r", body=body), at=1000)
        feed(Tick(), at=1100)
        assert [inbox(feed, queue) for queue in "pqr"] == [["m0"], [], ["m0"]]

    def test_it_becomes_a_dead_letter_without_an_end(self) -> None:
        feed = deliver()
        feed(Configure("q", message_ttl_ms=100, dead_letter="d"), delivered(0, "q"), at=1000)
        (letter,) = feed(Tick(), at=1100)
        assert isinstance(letter, Message)
        assert (letter.group, letter.expires_at) == ("@d", None)
        assert letter.headers["dead-letter-reason"] == "expired"

    def test_a_message_that_arrived_before_keeps_its_own_end(self) -> None:
        feed = deliver()
        feed(delivered(0, "q"), Configure("q", message_ttl_ms=100), delivered(1, "q"), at=1000)
        feed(Configure("q"), at=1050)
        feed(delivered(2, "q"), at=1050)
        feed(Tick(), at=1100)
        assert inbox(feed) == ["m0", "m2"]

    def test_it_holds_for_a_message_that_displaces_another(self) -> None:
        feed = deliver()
        feed(Configure("q", max_length=1, message_ttl_ms=100), at=1000)
        feed(delivered(0, "q"), at=1000)
        feed(delivered(1, "q"), at=1050)
        assert (inbox(feed), feed.fold.next_due) == (["m1"], 1150)

    def test_a_message_that_is_tried_again_does_not_begin_anew(self) -> None:
        feed = deliver()
        feed(Configure("q", message_ttl_ms=100), Lease("q", "c"), delivered(0, "q"), at=1000)
        feed(Lease("q", "c", visibility_ms=500), at=1010)
        feed(Nack("q", tuple(seqs(feed)), delay_ms=10, consumer="c"), at=1020)
        feed(Tick(), at=1030)
        assert inbox(feed) == ["m0"]
        feed(Tick(), at=1100)
        assert (inbox(feed), due_rows(feed)) == ([], 0)


class TestTransient:
    def test_only_a_queue_with_a_session_gets_it(self) -> None:
        feed = deliver()
        feed(Open("q", "s"), delivered(0, "q", "r", persistent=False))
        assert inbox(feed) == ["m0"]
        assert inbox(feed, "r") == []

    @pytest.mark.parametrize("end", [Close("q", "s"), Open("q", "t")])
    def test_it_ends_with_the_session(self, end: Event) -> None:
        feed = deliver()
        feed(Open("q", "s"), delivered(0, "q", persistent=False), delivered(1, "q"))
        feed(end)
        assert inbox(feed) == ["m1"]
        assert not list(feed.rows.scan(b"vq"))

    def test_acked_it_leaves_nothing(self) -> None:
        feed = deliver()
        feed(Open("q", "s"), delivered(0, "q", persistent=False, expires_at=5000))
        feed(Ack("q", upto=seqs(feed)[0]))
        assert not list(feed.rows.scan(b"vq"))
        assert due_rows(feed) == 0


class TestReceipts:
    def test_each_receivers_ack_is_told(self) -> None:
        feed = deliver()
        feed(delivered(0, "q", "r", "me", receipt=True), delivered(1, "q"))
        assert feed(Ack("me", upto=1 << 40)) == []  # the sender's own
        outputs = feed(Ack("q", upto=1 << 40), at=3000)
        body = {"id": "m0", "group": "g", "queue": "q", "at": 3000}
        assert told(outputs) == [("@me", "receipt", body)]
        assert feed(Ack("q", upto=1 << 40)) == []
        assert [group for group, _, _ in told(feed(Ack("r", seqs=(2,))))] == ["@me"]

    @pytest.mark.parametrize("sender", ["", "a\nb"])
    def test_a_sender_that_is_no_queue_is_not_told(self, sender: str) -> None:
        feed = deliver()
        feed(delivered(0, "q", sender=sender, receipt=True))
        assert feed(Ack("q", upto=1 << 40)) == []

    def test_what_expires_has_none(self) -> None:
        feed = deliver()
        feed(delivered(0, "q", receipt=True, expires_at=1100), at=1000)
        assert feed(Tick(), at=1100) == []


def test_the_front_of_a_bucket_is_what_a_scan_says() -> None:
    # Given more rows than it has at hand
    rows = MemoryRows()
    front = Front(rows, b"z")
    for number in range(3 * SIZE):
        rows.put(b"z", number.to_bytes(2, "big"), b"")
    # When rows are taken, and others put before, among and behind those at hand
    taken = []
    while (first := front.first()) is not None:
        assert first == next(rows.scan(b"z"))[0]
        front.delete(first)
        taken.append(first)
        if len(taken) % 100 == 0:
            for suffix in (b"\0", first + b"\1", b"\xff" + bytes([len(taken) // 100])):
                front.put(suffix)
    # Then none is missing
    assert len(taken) > 3 * SIZE + 40
    assert not list(rows.scan(b"z"))


def test_putting_many_keeps_few_at_hand() -> None:
    front = Front(MemoryRows(), b"z")
    assert front.first() is None
    for number in range(5 * SIZE, 0, -1):
        front.put(number.to_bytes(2, "big"))
        front.put(number.to_bytes(2, "big"))
        assert front.first() == number.to_bytes(2, "big")
    assert len(front._keys) <= 2 * SIZE


class TestReaders:
    def test_the_touch_of_a_reader_is_use(self) -> None:
        feed = deliver()
        feed(Configure("q", ttl_ms=100), at=1000)
        feed(Touch("q", ""), at=1090)
        feed(Tick(), at=1100)
        assert views.options(feed.rows, "q") is not None
        assert feed.fold.next_due == 1190
        feed(Tick(), at=1190)
        assert views.options(feed.rows, "q") is None

    def test_it_is_no_heartbeat_of_a_session(self) -> None:
        feed = deliver()
        feed(Open("q", "s", ttl_ms=100), at=1000)
        feed(Touch("q", ""), at=1090)
        feed(Tick(), at=1100)
        assert views.session(feed.rows, "q") is None

    @pytest.mark.parametrize("how", ["delete", "ttl"])
    def test_whoever_deletes_a_queue_its_readers_are_to_be_told(self, how: str) -> None:
        feed = deliver()
        notices = feed.fold.notices
        notices.collect = True
        feed(Configure("q", ttl_ms=100), Configure("r", ttl_ms=200), at=1000)
        assert notices.drain().configured == {b"q", b"r"}
        feed(Delete("q") if how == "delete" else Tick(), at=1100)
        drained = notices.drain()
        assert drained.deleted == {b"q": 2}
        assert notices.drain().deleted == {}

    def test_queues_that_are_about_to_end_are_found_among_other_timers(self) -> None:
        feed = deliver()
        assert feed.fold.unused(10_000, None, 2) == ([], None)
        for number in range(5):
            feed(Configure(f"q{number}", ttl_ms=100 + number), at=1000)
            feed(delivered(number, "q0", expires_at=1100 + number), at=1000)
        found, after = feed.fold.unused(1104, None, 3)
        while after is not None:
            more, after = feed.fold.unused(1104, after, 3)
            found += more
        assert found == [b"q0", b"q1", b"q2", b"q3"]
        assert (feed.fold.ttl_ms(b"q4"), feed.fold.ttl_ms(b"none")) == (104, None)
