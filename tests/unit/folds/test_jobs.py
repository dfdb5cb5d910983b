"""Competing consumers, deliveries that fail, limits, and the end of queues."""

from __future__ import annotations

from typing import Any

import pytest
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import Feed, deliver
from test_deliver import asked, bound, inbox, seqs
from test_time import delivered, due_rows, told

from streams.events.codec import encode
from streams.events.records import (
    Ack,
    Configure,
    Delete,
    Event,
    Lease,
    Message,
    Nack,
    Open,
    Purge,
    Tick,
    Unbind,
)
from streams.fold import BadRecord
from streams.folds import views
from streams.folds.deliver import Deliver
from streams.folds.row_keys import split_row_key


def leased(feed: Feed[Deliver], lease: Lease, at: int = 1000) -> list[str]:
    """Fold a Lease; return the ids of what it got."""
    feed.fold.notices.collect = True
    feed(lease, at=at)
    ((_, found),) = feed.fold.notices.drain().leased.items()
    deliveries = [views.delivery(feed.rows, lease.queue, seq) for seq in found]
    return [views.message_of(delivery).id for delivery in deliveries if delivery]


def dead(outputs: list[Event]) -> list[tuple[str, str, str, str]]:
    """Return group, id, reason and tries of the dead letters that were asked for."""
    return [
        (o.group, o.id, o.headers["dead-letter-reason"], o.headers["dead-letter-tries"])
        for o in outputs
        if isinstance(o, Message)
    ]


def jobs(count: int, **options: Any) -> Feed[Deliver]:
    """Return a queue `q` with messages m0, m1 and so on."""
    feed = deliver()
    if options:
        feed(Configure("q", **options))
    feed(*(delivered(number, "q") for number in range(count)))
    return feed


class TestLeases:
    def test_nobody_gets_what_another_has(self) -> None:
        feed = jobs(3)
        assert leased(feed, Lease("q", "one", 2)) == ["m0", "m1"]
        assert leased(feed, Lease("q", "two", 2)) == ["m2"]
        assert leased(feed, Lease("q", "three", 2)) == []

    def test_the_urgent_come_first(self) -> None:
        feed = deliver()
        for number, priority in enumerate((4, 0, 9, 4)):
            feed(delivered(number, "q", priority=priority))
        assert leased(feed, Lease("q", limit=9)) == ["m2", "m0", "m3", "m1"]

    def test_what_comes_later_can_be_had_too(self) -> None:
        feed = jobs(0)
        assert leased(feed, Lease("q")) == []
        feed(delivered(0, "q"))
        assert leased(feed, Lease("q")) == ["m0"]

    def test_a_lease_that_ends_gives_it_back_in_its_place(self) -> None:
        feed = jobs(2)
        assert leased(feed, Lease("q", limit=2, visibility_ms=100), at=1000) == ["m0", "m1"]
        feed(Ack("q", seqs=(seqs(feed)[1],)))
        assert feed.fold.next_due == 1100
        feed.fold.notices.collect_delivered = True
        feed(Tick(), at=1100)
        assert feed.fold.notices.drain().delivered == {b"q"}
        assert leased(feed, Lease("q", limit=2), at=1100) == ["m0"]
        found = views.delivery(feed.rows, "q", seqs(feed)[0])
        assert found is not None
        assert found.tries == 2

    def test_it_lasts_as_long_as_the_queue_says(self) -> None:
        feed = jobs(1, visibility_ms=700)
        leased(feed, Lease("q"), at=1000)
        assert feed.fold.next_due == 1700

    def test_acked_it_leaves_nothing(self) -> None:
        feed = jobs(2)
        leased(feed, Lease("q", limit=1))
        feed(Ack("q", upto=1 << 40))
        assert due_rows(feed) == 0
        assert not views.may_lease(feed.rows, "q")
        assert views.options(feed.rows, "q") is not None

    def test_it_goes_on_when_it_is_extended(self) -> None:
        feed = jobs(1)
        leased(feed, Lease("q", "one", visibility_ms=100), at=1000)
        (seq,) = seqs(feed)
        feed(Nack("q", (seq,), "extend", 500, "two"), at=1050)  # not his
        assert feed.fold.next_due == 1100
        feed(Nack("q", (seq,), "extend", 500, "one"), at=1050)
        feed(Tick(), at=1100)
        assert leased(feed, Lease("q"), at=1100) == []
        feed(Tick(), at=1550)
        assert leased(feed, Lease("q"), at=1550) == ["m0"]


class TestWhatFits:
    """How many deliveries a Lease should ask for, so that they fit in a response."""

    def ask(self, feed: Feed[Deliver], limit: int, most_bytes: int, now: int = 0) -> int:
        count, size = views.leasable(feed.rows, "q", limit, most_bytes, now)
        expected = leased(feed, Lease("q", limit=count), at=max(now, 1))
        assert size == sum(
            delivery.size
            for seq in seqs(feed)
            if (delivery := views.delivery(feed.rows, "q", seq)) and delivery.leased
        )
        assert len(expected) == (count if size else 0)
        return count

    @pytest.mark.parametrize("is_job_queue", [False, True])
    def test_no_more_than_fit_and_one(self, is_job_queue: bool) -> None:
        feed = jobs(0)
        if is_job_queue:
            leased(feed, Lease("q"))
        feed(*(delivered(number, "q", body=b"x" * 1000) for number in range(9)))
        assert self.ask(feed, 9, 3500) == 4

    @pytest.mark.parametrize("is_job_queue", [False, True])
    def test_no_more_than_the_limit(self, is_job_queue: bool) -> None:
        feed = jobs(0)
        if is_job_queue:
            leased(feed, Lease("q"))
        feed(*(delivered(number, "q") for number in range(9)))
        assert self.ask(feed, 5, 1 << 20) == 5

    def test_one_at_least(self) -> None:
        assert self.ask(jobs(0), 5, 1000) == 1
        assert self.ask(jobs(3), 5, 0) == 1

    def test_those_that_come_first(self) -> None:
        feed = jobs(0)
        leased(feed, Lease("q"))
        feed(
            delivered(0, "q", body=b"x" * 5000),
            *(delivered(n, "q", priority=9) for n in range(1, 9)),
        )
        assert self.ask(feed, 99, 4000) == 9

    @pytest.mark.parametrize("is_job_queue", [False, True])
    def test_the_expired_do_not_count(self, is_job_queue: bool) -> None:
        feed = jobs(0)
        if is_job_queue:
            leased(feed, Lease("q"))
        feed(*(delivered(number, "q", expires_at=500) for number in range(9)))
        feed(*(delivered(number, "q") for number in range(10, 14)))
        assert self.ask(feed, 3, 1 << 20, now=1000) == 3


class TestFailures:
    def test_a_job_comes_back_after_the_delay(self) -> None:
        feed = jobs(1)
        leased(feed, Lease("q"), at=1000)
        feed(Nack("q", tuple(seqs(feed)), delay_ms=200), at=1000)
        assert leased(feed, Lease("q"), at=1199) == []
        feed(Tick(), at=1200)
        assert leased(feed, Lease("q"), at=1200) == ["m0"]

    def test_a_reader_finds_it_at_the_end(self) -> None:
        # Given two deliveries to a queue without leases
        feed = jobs(2)
        first, last = seqs(feed)
        # When the first is given back, at once and then later
        feed(Nack("q", (first,)))
        assert inbox(feed) == ["m1", "m0"]
        feed(Nack("q", (seqs(feed)[1],), delay_ms=100), at=1000)
        assert inbox(feed) == ["m1"]
        feed(Ack("q", upto=1 << 40))
        # Then it is there again, with a new seq
        feed(Tick(), at=1100)
        assert inbox(feed) == ["m0"]
        assert seqs(feed)[0] > last

    @pytest.mark.parametrize("end", ["nack", "silence"])
    def test_after_so_many_tries_it_is_given_up(self, end: str) -> None:
        feed = jobs(1, max_tries=2, dead_letter="d", visibility_ms=100)
        for at in (1000, 2000):
            assert leased(feed, Lease("q"), at=at) == ["m0"]
            event = Nack("q", tuple(seqs(feed))) if end == "nack" else Tick()
            outputs = feed(event, at=at + 100)
        assert dead(outputs) == [("@d", "m0", "tries", "2")]
        assert inbox(feed) == []

    def test_rejected_it_is_given_up_at_once(self) -> None:
        feed = jobs(1, dead_letter="d")
        assert dead(feed(Nack("q", tuple(seqs(feed)), "reject"))) == [("@d", "m0", "rejected", "1")]
        assert inbox(feed) == []

    def test_expired_it_is_a_dead_letter_too(self) -> None:
        feed = jobs(0, dead_letter="d")
        feed(delivered(0, "q", expires_at=1100), at=1000)
        assert dead(feed(Tick(), at=1100)) == [("@d", "m0", "expired", "0")]

    def test_dying_again_it_keeps_the_headers_of_its_first_death(self) -> None:
        feed = jobs(0, dead_letter="d")
        been = {
            "mine": "1",
            "dead-letter-reason": "tries",
            "dead-letter-queue": "a",
            "dead-letter-group": "room",
            "dead-letter-tries": "5",
        }
        feed(delivered(0, "q", headers=been))
        (letter,) = feed(Nack("q", tuple(seqs(feed)), "reject"))
        assert isinstance(letter, Message)
        headers = letter.headers
        assert {name: headers[name] for name in been} == been
        assert {name: value for name, value in headers.items() if name not in been} == {
            "dead-letter-count": "2",
            "dead-letter-last-reason": "rejected",
            "dead-letter-last-queue": "q",
            "dead-letter-last-group": "g",
            "dead-letter-last-tries": "1",
        }
        # and a third time, only the latest and the count change
        feed(delivered(1, "q", headers={**headers, "dead-letter-last-queue": "b"}))
        (again,) = feed(Nack("q", tuple(seqs(feed)), "reject"))
        assert isinstance(again, Message)
        assert again.headers == {**headers, "dead-letter-count": "3"}

    @pytest.mark.parametrize("text", ["", "x", "-1", "\u0663", "9" * 40])
    def test_a_count_that_is_none_counts_as_one_death(self, text: str) -> None:
        feed = jobs(0, dead_letter="d")
        feed(delivered(0, "q", headers={"dead-letter-count": text}))
        (letter,) = feed(Nack("q", tuple(seqs(feed)), "reject"))
        assert isinstance(letter, Message)
        assert letter.headers["dead-letter-count"] == "2"

    def test_two_full_queues_do_not_send_it_to_each_other_for_ever(self) -> None:
        feed = jobs(0, max_length=1, dead_letter="d")
        been = {"dead-letter-reason": "overflow"}
        feed(delivered(0, "q", headers=been))
        assert feed(delivered(1, "q")) == []
        assert inbox(feed) == ["m1"]


class TestLimits:
    @pytest.mark.parametrize(
        ("overflow", "left"),
        [
            ("drop_oldest", ["m1", "m2"]),
            ("drop_newest", ["m0", "m1"]),
            ("reject", ["m0", "m1"]),
        ],
    )
    def test_length(self, overflow: str, left: list[str]) -> None:
        feed = jobs(2, max_length=2, overflow=overflow)
        outputs = feed(delivered(2, "q"))
        assert inbox(feed) == left
        body = {"id": "m2", "group": "g", "queue": "q", "reason": "overflow"}
        assert told(outputs) == ([("@me", "rejected", body)] if overflow == "reject" else [])

    def test_one_that_displaces_many_gives_the_event_loop_its_turns(self) -> None:
        feed = jobs(4000, max_bytes=400_000)
        before = len(seqs(feed))
        assert before > 2500
        feed(delivered(4000, "q", body=b"x" * 390_000))
        assert before - len(seqs(feed)) > 2000
        assert feed.turns == 2
        state = views.options(feed.rows, "q")
        assert state is not None
        assert (state.length, state.size <= 400_000) == (len(seqs(feed)), True)

    def test_bytes(self) -> None:
        size = len(encode(Message("m0", "g", "me")))
        feed = jobs(0, max_bytes=2 * size)
        feed(*(delivered(number, "q") for number in range(3)))
        assert inbox(feed) == ["m1", "m2"]
        feed(delivered(3, "q", body=bytes(2 * size)))  # would not fit an empty one
        assert inbox(feed) == ["m1", "m2"]

    def test_what_was_there_counts_and_gives_way(self) -> None:
        feed = jobs(4)
        feed(Configure("q", max_length=2))
        assert inbox(feed) == ["m2", "m3"]
        feed(Ack("q", seqs=(seqs(feed)[0],)), delivered(4, "q"))
        assert inbox(feed) == ["m3", "m4"]

    def test_others_are_as_before(self) -> None:
        feed = jobs(0, max_length=1)
        feed(delivered(0, "q", "r"), delivered(1, "q", "r"))
        assert inbox(feed, "r") == ["m0", "m1"]
        assert views.options(feed.rows, "r") is None


class TestTheEnd:
    def test_purge(self) -> None:
        feed = jobs(3, max_length=9)
        feed(Nack("q", (seqs(feed)[0],), delay_ms=100))
        feed(Purge("q"))
        assert inbox(feed) == []
        assert due_rows(feed) == 0
        state = views.options(feed.rows, "q")
        assert state is not None
        assert (state.length, state.size) == (0, 0)

    def test_delete(self) -> None:
        # Given a queue with everything
        feed = jobs(2, ttl_ms=5000, max_tries=3)
        feed(Open("q", "s", ("g",), ttl_ms=5000), bound(9, "g", "q", "s"), bound(10, "h", "q"))
        leased(feed, Lease("q"))
        # When it is deleted
        outputs = feed(Delete("q"))
        # Then its bindings are asked to go, and no row is left but theirs
        assert asked(outputs) == [Unbind("g", "q", "s"), Unbind("h", "q")]
        left = {split_row_key("queues", key).kind for key, _ in feed.rows.items()}
        assert left == {"binding", "watermark", "closed lately"}

    def test_unused_for_long_it_ends_by_itself(self) -> None:
        feed = jobs(0, ttl_ms=100)
        feed(delivered(0, "q"), Ack("q", upto=0), at=1050)
        feed(Tick(), at=1100)
        assert feed.fold.next_due == 1150
        feed(delivered(1, "q"), Tick(), at=1150)
        assert views.options(feed.rows, "q") is None
        assert inbox(feed) == []
        assert feed.fold.next_due is None

    def test_with_an_open_session_it_is_in_use(self) -> None:
        feed = jobs(0, ttl_ms=100)
        feed(Open("q", "s"), at=1000)
        feed(Tick(), at=1100)
        assert views.options(feed.rows, "q") is not None
        assert feed.fold.next_due == 1200


@pytest.mark.parametrize(
    "event",
    [
        Configure("q", max_length=0),
        Configure("q", max_bytes=-1),
        Configure("q", max_tries=1001),
        Configure("q", visibility_ms=0),
        Configure("q", ttl_ms=1 << 62),
        Configure("q", message_ttl_ms=0),
        Configure("q", declared="x" * 4097),
        Configure("q", message_ttl_ms=1 << 62),
        Configure("q", overflow=""),
        Configure("q", dead_letter="q"),
        Configure("q", dead_letter=""),
        Lease("q", limit=0),
        Lease("q", limit=1001),
        Lease("q", visibility_ms=-5),
        Lease("q", "\n"),
        Nack("q", (1,), "perhaps"),
        Nack("q", (1,), delay_ms=-1),
        Nack("q", tuple(range(1001))),
        Nack("q", (1,), consumer="\n"),
        Open("q", "s", ttl_ms=0),
        Open("q", "s", ttl_ms=-(1 << 63)),
    ],
)
def test_what_means_nothing_is_refused_and_changes_nothing(event: Event) -> None:
    feed = jobs(2, max_length=5)
    before = list(feed.rows.items())
    with pytest.raises(BadRecord):
        feed(event)
    assert list(feed.rows.items()) == before
    assert feed.outputs() == []


def test_whatever_numbers_there_are_they_do_no_harm() -> None:
    feed = jobs(1)
    most = (1 << 63) - 1
    feed(delivered(5, "q", expires_at=most, priority=1 << 30))
    feed(delivered(6, "q", expires_at=-most, priority=-(1 << 31)))
    feed(Nack("q", (-1, most, 0)), Ack("q", most))
    assert inbox(feed) == []
    assert due_rows(feed) == 0
