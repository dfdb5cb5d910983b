"""What the deliver fold makes of each event of a queue."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_rows import is_core, rows_in  # noqa: F401 - all tests run twice
from feeding import Feed, deliver

from streams.events.codec import encode
from streams.events.records import (
    Ack,
    Bind,
    Close,
    Event,
    Message,
    Nack,
    Open,
    Origin,
    Routed,
    Tick,
    Unbind,
)
from streams.fold import BadRecord
from streams.folds import views
from streams.folds.deliver import Deliver
from streams.kafka.partitioner import partition_of


def bound(offset: int, group: str, queue: str, session: str = "", kind: bytes = b"\1") -> Routed:
    return Routed(0, (offset,), kind, (group,), (queue,), (session,))


def unbound(offset: int, group: str, queue: str, session: str = "") -> Routed:
    return bound(offset, group, queue, session, b"\0")


def sent(offset: int, *queues: str, part: int = 0, ident: str = "") -> Routed:
    message = encode(Message(ident or f"m{offset}", "g", "me"))
    return Routed(
        0,
        delivery_offsets=(offset,),
        delivery_parts=(part,),
        delivery_messages=(message,),
        delivery_queues=(queues,),
    )


def inbox(feed: Feed[Deliver], queue: str = "q") -> list[str]:
    return [message.id for _, message in views.inbox(feed.rows, queue)]


def seqs(feed: Feed[Deliver], queue: str = "q") -> list[int]:
    return [seq for seq, _ in views.inbox(feed.rows, queue)]


def asked(outputs: list[Event]) -> list[Event]:
    """Return the changes that were asked for, without time and origin."""
    return [
        replace(output, at=0, origin=None)
        for output in outputs
        if isinstance(output, Bind | Unbind)
    ]


class TestRouted:
    def test_bindings_are_the_inverse(self) -> None:
        feed = deliver()
        feed(bound(0, "h", "q"), bound(1, "g", "q"), bound(2, "g", "r"))
        assert views.groups(feed.rows, "q") == (["g", "h"], None)
        feed(unbound(3, "g", "q"))
        assert views.groups(feed.rows, "q") == (["h"], None)
        assert views.groups(feed.rows, "r") == (["g"], None)

    def test_deliveries_have_the_place_of_their_record_as_seq(self) -> None:
        # Given two records, the second of two deliveries
        feed = deliver()
        both = Routed(
            0,
            delivery_offsets=(5, 6),
            delivery_parts=(0, 0),
            delivery_messages=(encode(Message("a", "g", "me")), encode(Message("b", "g", "me"))),
            delivery_queues=(("p", "q"), ("q",)),
        )
        # When they are folded
        feed(sent(4, "q"), both)
        # Then seqs are offset * 4096 + place, and no seq is 0
        assert seqs(feed) == [1, 4096 + 2, 4096 + 3]
        assert inbox(feed) == ["m4", "a", "b"]
        assert seqs(feed, "p") == [4096 + 1]

    def test_a_partition_that_did_not_begin_empty_has_higher_seqs(self) -> None:
        # Given a base of 2 ** 32
        feed = deliver(base=1 << 32)
        # When messages arrive, and come back at once or after a delay
        feed(sent(4, "q", "r"), sent(5, "q"))
        feed(Nack("q", (seqs(feed)[0],)), at=1000)
        feed(Nack("q", (seqs(feed)[0],), delay_ms=100), at=1000)
        feed(Tick(), at=1100)
        # Then the base counts as so many records before the log
        assert seqs(feed) == [((1 << 32) + offset) * 4096 + 1 for offset in (2, 4)]
        assert seqs(feed, "r") == [(1 << 32) * 4096 + 2]

    def test_what_comes_again_is_dropped(self) -> None:
        # Given entries that were folded
        feed = deliver()
        feed(bound(0, "g", "q"), sent(1, "q"), unbound(2, "g", "q"))
        before = list(feed.rows.items())
        # When a zombie has routed them again, in other records
        again = Routed(
            0,
            (0, 2),
            b"\1\0",
            ("g", "g"),
            ("q", "q"),
            ("", ""),
            (1,),
            (0,),
            (encode(Message("m1", "g", "me")),),
            (("q",),),
        )
        feed(again, bound(0, "g", "q"))
        # Then nothing changes
        assert list(feed.rows.items()) == before

    def test_of_a_record_that_comes_in_part_again_the_rest_counts(self) -> None:
        feed = deliver()
        feed(bound(0, "g", "q"), sent(1, "q", "r"))
        message = encode(Message("new", "g", "me"))
        feed(
            Routed(
                0,
                (0, 3),
                b"\1\1",
                ("g", "h"),
                ("q", "q"),
                ("", ""),
                (1, 2),
                (0, 0),
                (encode(Message("m1", "g", "me")), message),
                (("q", "r"), ("r",)),
            )
        )
        # Then the seqs count what was dropped too
        assert seqs(feed, "r") == [4096 + 2, 2 * 4096 + 3]
        assert views.groups(feed.rows, "q") == (["g", "h"], None)
        assert inbox(feed) == ["m1"]

    def test_each_part_of_a_message_counts(self) -> None:
        feed = deliver()
        feed(sent(1, "q", part=0), sent(1, "r", part=1), sent(1, "r", part=1))
        assert inbox(feed) == ["m1"]
        assert inbox(feed, "r") == ["m1"]

    def test_each_partition_of_route_is_on_its_own(self) -> None:
        feed = deliver(2, partition_of(b"q", 2))
        feed(sent(7, "q"), replace(sent(3, "q"), source=1))
        assert inbox(feed) == ["m7", "m3"]

    def test_who_got_something_is_told_if_asked(self) -> None:
        feed = deliver()
        feed(sent(1, "q"))
        feed.fold.notices.collect_delivered = True
        feed(bound(2, "g", "s"), sent(3, "q", "r"), sent(3, "x"))
        assert feed.fold.notices.drain().delivered == {b"q", b"r"}
        assert feed.fold.notices.drain().delivered == set()


class TestAcks:
    def test_upto(self) -> None:
        feed = deliver()
        feed(*(sent(offset, "q", "qq") for offset in range(4)))
        feed(Ack("q", upto=seqs(feed)[1]))
        assert inbox(feed) == ["m2", "m3"]
        assert inbox(feed, "qq") == ["m0", "m1", "m2", "m3"]

    def test_upto_between_two_seqs(self) -> None:
        feed = deliver()
        feed(sent(0, "q"), sent(1, "q"))
        feed(Ack("q", upto=seqs(feed)[1] - 1))
        assert inbox(feed) == ["m1"]

    def test_seqs(self) -> None:
        feed = deliver()
        feed(*(sent(offset, "q") for offset in range(4)))
        first, second, _, last = seqs(feed)
        feed(Ack("q", seqs=(last, first, first, 77, -1)))
        assert inbox(feed) == ["m1", "m2"]
        feed(Ack("q", upto=second, seqs=(last,)))
        assert inbox(feed) == ["m2"]

    @pytest.mark.parametrize("upto", [None, -1, 0])
    def test_nothing(self, upto: int | None) -> None:
        feed = deliver()
        feed(sent(0, "q"), Ack("q", upto))
        assert inbox(feed) == ["m0"]

    def test_everything(self) -> None:
        feed = deliver()
        feed(sent(0, "q"), Ack("q", (1 << 63) - 1), sent(1, "q"))
        assert inbox(feed) == ["m1"]


class TestSessions:
    def test_open_asks_for_its_bindings(self) -> None:
        # When a session opens, on a clean queue
        feed = deliver()
        outputs = feed(Open("q", "s", ("h", "g", "g"), presence=False), at=2000)
        # Then it is open, and a Bind for each group is asked for, in order
        assert views.session(feed.rows, "q") == "s"
        assert outputs == [
            Bind("g", "q", "s", 2000, Origin(0, 0, 0)),
            Bind("h", "q", "s", 2000, Origin(0, 0, 1)),
        ]

    def test_close_asks_for_their_end(self) -> None:
        # Given bindings of a session, of none, and of another queue
        feed = deliver()
        feed(Open("q", "s", ("g", "h"), presence=False), Open("r", "s", ("g",)))
        feed(bound(0, "g", "q", "s"), bound(1, "h", "q", "s"), bound(2, "p", "q"))
        feed(bound(3, "g", "r", "s"))
        # When it is closed
        outputs = feed(Close("q", "s"), at=2000)
        # Then its bindings are to go, and only they
        assert views.session(feed.rows, "q") is None
        assert outputs == [
            Unbind("g", "q", "s", 2000, Origin(0, 6, 0)),
            Unbind("h", "q", "s", 2000, Origin(0, 6, 1)),
        ]
        assert views.session(feed.rows, "r") == "s"

    def test_a_new_session_takes_over(self) -> None:
        # Given a session with two groups
        feed = deliver()
        feed(Open("q", "old", ("g", "h")))
        feed(bound(0, "g", "q", "old"), bound(1, "h", "q", "old"))
        # When another opens with one of them
        outputs = feed(Open("q", "new", ("h", "i")))
        # Then the queue never leaves the group that both have
        assert asked(outputs) == [
            Unbind("g", "q", "old"),
            Bind("h", "q", "new"),
            Bind("i", "q", "new"),
            Unbind("h", "q", "old"),
        ]
        assert views.session(feed.rows, "q") == "new"

    def test_opened_again_it_keeps_what_it_has(self) -> None:
        feed = deliver()
        feed(Open("q", "s", ("g",)), bound(0, "g", "q", "s"))
        assert asked(feed(Open("q", "s", ("h",)))) == [Bind("h", "q", "s")]
        assert views.session(feed.rows, "q") == "s"

    def test_a_late_close_leaves_the_next_session_alone(self) -> None:
        feed = deliver()
        feed(Open("q", "old"), bound(0, "g", "q", "old"), Open("q", "new"))
        feed(bound(1, "h", "q", "new"))
        assert asked(feed(Close("q", "old"))) == [Unbind("g", "q", "old")]
        assert views.session(feed.rows, "q") == "new"

    def test_a_binding_of_a_session_that_is_not_open_is_undone(self) -> None:
        feed = deliver()
        assert asked(feed(bound(0, "g", "q", "s"))) == [Unbind("g", "q", "s")]
        assert views.binding(feed.rows, "q", "g") == (True, "s")
        feed(unbound(1, "g", "q", "s"))
        assert views.binding(feed.rows, "q", "g") == (False, None)

    def test_a_binding_that_an_old_session_took_is_given_back(self) -> None:
        # Given the open session's binding
        feed = deliver()
        feed(Open("q", "new", ("g",)), bound(0, "g", "q", "new"))
        # When a late Bind of the old session took it
        outputs = feed(bound(1, "g", "q", "old"))
        # Then it is to be given back, if it is still there
        assert asked(outputs) == [Bind("g", "q", "new", replaces="old")]


class TestTurns:
    def test_much_to_do_is_done_in_turns(self) -> None:
        # Given an inbox and bindings of some thousands
        feed = deliver()
        feed(Open("q", "s"))
        groups = [f"g{number:04}" for number in range(4000)]
        feed(Routed(0, tuple(range(4000)), b"\1" * 4000, *_columns(groups)))
        # Of 4 turns, the first is within apply; the core needs no more than one.
        assert feed.turns == (0 if is_core(feed.rows) else 3)
        for number in range(4000):
            feed(sent(4000 + number, "q"))
        # When all is acked, and the session changes, Then the event loop gets turns
        feed(Ack("q", upto=seqs(feed)[1999]))
        assert feed.turns == 1
        feed(Ack("q", seqs=tuple(seqs(feed))))
        assert feed.turns == 1
        assert seqs(feed) == []
        assert len(asked(feed(Open("q", "t", tuple(groups[:2000]))))) == 6000
        assert feed.turns >= 3
        assert len(asked(feed(Close("q", "s")))) == 4000
        assert feed.turns >= 3

    def test_many_deliveries(self) -> None:
        feed = deliver()
        queues = [f"q{number:04}" for number in range(4096)]
        messages = (encode(Message("m", "g", "me")),) * 5
        parts = tuple(tuple(queues[at : at + 1000]) for at in range(0, 4096, 1000))
        feed(Routed(0, (), b"", (), (), (), (0,) * 5, (0, 1, 2, 3, 4), messages, parts))
        assert feed.turns == (0 if is_core(feed.rows) else 3)
        assert seqs(feed, "q4095") == [4096]


def _columns(groups: list[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return tuple(groups), ("q",) * len(groups), ("s",) * len(groups)


M = encode(Message("m", "g", "me"))


@pytest.mark.parametrize(
    ("key", "event", "reason"),
    [
        (None, Close("q", "s"), "the record has no key"),
        (b"", Close("q", "s"), "the record has no key"),
        (b"r", Close("q", "s"), "the key is not the queue"),
        (b"r", Open("q", "s"), "the key is not the queue"),
        (b"r", Ack("q", 5), "the key is not the queue"),
        (b"q\0", Ack("q\0", 5), "queue is not a valid id"),
        (b"q", Close("q", ""), "session is not a valid id"),
        (b"q", Open("q", "s", ("g", "h\0")), "groups has an item that is not a valid group id"),
        (b"q", Open("q", "s", ("@g",)), "groups has an item that is not a valid group id"),
        (b"q", Message("m", "q", "me"), "Message is not an event of a queue"),
        (b"q", Routed(1), "the source is not a partition"),
        (b"q", Routed(-1), "the source is not a partition"),
        (b"q", Routed(0, (1,), b"\1", ("g",), ("q",), ()), "changes differ in length"),
        (b"q", Routed(0, (1,), b"", ("g",), ("q",), ("",)), "changes differ in length"),
        (b"q", Routed(0, (1,), b"\2", ("g",), ("q",), ("",)), "neither a bind nor an unbind"),
        (b"q", Routed(0, (-1,), b"\1", ("g",), ("q",), ("",)), "order of their origin"),
        (
            b"q",
            Routed(0, (2, 2), b"\1\1", ("g", "g"), ("q", "q"), ("", "")),
            "order of their origin",
        ),
        (b"q", Routed(0, (1,), b"\1", ("g\x01",), ("q",), ("",)), "invalid id"),
        (b"q", Routed(0, (1,), b"\1", ("g\0",), ("q",), ("",)), "changes differ in length"),
        (b"q", Routed(0, (1,), b"\1", ("g",), ("",), ("",)), "invalid id"),
        (b"q", Routed(0, (1,), b"\1", ("g",), ("q",), ("\x01",)), "invalid id"),
        (b"q", Routed(0, (1,), b"\1", ("g" * 256,), ("q",), ("",)), "invalid id"),
        (b"q", replace(sent(1, "q"), delivery_parts=()), "deliveries differ in length"),
        (b"q", replace(sent(1, "q"), delivery_parts=(-1,)), "order of their origin"),
        (b"q", sent(-1, "q"), "order of their origin"),
        (b"q", sent(1, "q", "\0"), "invalid queue id"),
        (b"q", sent(1, *["q"] * 4097), "more than 4096 deliveries"),
        (b"q", replace(sent(1, "q"), delivery_messages=(b"",)), "truncated"),
        (b"q", replace(sent(1, "q"), delivery_messages=(M + b"x",)), "1 bytes after its end"),
        (
            b"q",
            replace(sent(1, "q"), delivery_messages=(encode(Close("q", "s")),)),
            "no Message",
        ),
    ],
)
def test_what_means_nothing_is_refused_and_changes_nothing(
    key: bytes | None, event: Event, reason: str
) -> None:
    feed = deliver()
    feed(Open("q", "s"), bound(0, "g", "q", "s"))
    before = list(feed.rows.items())
    with pytest.raises(BadRecord, match=reason):
        feed.raw(key, encode(event))
    assert list(feed.rows.items()) == before
    assert feed.outputs() == []


def test_a_key_of_another_partition_is_refused() -> None:
    belongs = partition_of(b"q", 2)
    feed = deliver(2, 1 - belongs)
    for event in (Close("q", "s"), bound(0, "g", "q")):
        with pytest.raises(BadRecord, match=f"belongs to partition {belongs}, not {1 - belongs}"):
            feed(event)
