"""What the route fold makes of each event of a group."""

from __future__ import annotations

import json

import pytest
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import Feed, key_of, route

from streams.engine.testing import MemoryRows
from streams.events.codec import decode, encode
from streams.events.limits import MAX_MESSAGE_BODY, MAX_MESSAGE_BYTES
from streams.events.records import Bind, Close, Event, Message, Origin, Routed, Unbind
from streams.fold import BadRecord
from streams.folds import views
from streams.folds.route import PURGE_STEP_MS, Route
from streams.kafka.partitioner import partition_of

WINDOW = 600_000
LATER = 1000 + PURGE_STEP_MS
"""A log time from which on ids of the time 1000 are forgotten, after the window."""


def changes(outputs: list[Event]) -> list[tuple[int, int, str, str, str]]:
    """Return (offset, bound, group, queue, session) of all changes."""
    found = []
    for output in outputs:
        assert isinstance(output, Routed)
        found += list(
            zip(
                output.change_offsets,
                output.change_kinds,
                output.change_groups,
                output.change_queues,
                output.change_sessions,
                strict=True,
            )
        )
    return found


def deliveries(outputs: list[Event]) -> list[tuple[int, int, str, tuple[str, ...]]]:
    """Return (offset, part, message id, queues) of all deliveries."""
    found = []
    for output in outputs:
        assert isinstance(output, Routed)
        for offset, part, data, queues in zip(
            output.delivery_offsets,
            output.delivery_parts,
            output.delivery_messages,
            output.delivery_queues,
            strict=True,
        ):
            message = decode(data)
            assert isinstance(message, Message)
            found.append((offset, part, message.id, queues))
    return found


class TestBindings:
    def test_a_bind_makes_a_member(self) -> None:
        # Given a group without members
        feed = route()
        # When a queue is bound, twice
        outputs = feed(Bind("g", "q"), Bind("g", "q"))
        # Then it is a member, and the queue hears of it once
        assert views.members(feed.rows, "g") == (["q"], None)
        assert changes(outputs) == [(0, 1, "g", "q", "")]

    def test_an_unbind_removes_it(self) -> None:
        feed = route()
        feed(Bind("g", "q"), Bind("g", "r"))
        outputs = feed(Unbind("g", "q"), Unbind("g", "q"), Unbind("h", "q"))
        assert views.members(feed.rows, "g") == (["r"], None)
        assert changes(outputs) == [(2, 0, "g", "q", "")]

    def test_a_session_takes_over_from_another(self) -> None:
        feed = route()
        outputs = feed(Bind("g", "q", "old"), Bind("g", "q", "new"), Bind("g", "q", "new"))
        assert changes(outputs) == [(0, 1, "g", "q", "old"), (1, 1, "g", "q", "new")]
        # Then the old one can remove it no more, and the new one can
        assert changes(feed(Unbind("g", "q", "old"))) == []
        assert changes(feed(Unbind("g", "q", "new"))) == [(4, 0, "g", "q", "new")]
        assert [key[:1] for key, _ in feed.rows.items()] == []

    def test_a_late_session_covers_the_binding_until_it_is_unbound(self) -> None:
        # Given the binding of a session, and late Binds within others, one of them twice
        feed = route()
        feed(Bind("g", "q", "open"), Bind("g", "q", "late"), Bind("g", "q", "later"))
        feed(Bind("g", "q", "late"))
        # When they are unbound, in any order
        first, second = Unbind("g", "q", "later"), Unbind("g", "q", "late")
        # Then the queue was never out of the group, and is bound as before
        assert changes(feed(first, second)) == [(5, 1, "g", "q", "open")]
        assert views.member(feed.rows, "g", "q") == views.Membership("q", "open", 0)
        assert [key[:1] for key, _ in feed.rows.items()] == [b"m"]

    def test_a_take_over_leaves_nothing_covered(self) -> None:
        feed = route()
        feed(Bind("g", "q", "old"), Bind("g", "q", "new", origin=Origin(0, 1, 0)))
        assert feed(Unbind("g", "q", "old", origin=Origin(0, 1, 1))) == []
        assert [key[:1] for key, _ in feed.rows.items() if key[:1] != b"w"] == [b"m"]

    def test_given_back_to_a_session_it_covers_nothing_more(self) -> None:
        feed = route()
        feed(Bind("g", "q", "open"), Bind("g", "q", "late"))
        feed(Bind("g", "q", "open", origin=Origin(0, 1, 0), replaces="late"))
        assert changes(feed(Unbind("g", "q", "open"))) == [(3, 0, "g", "q", "open")]

    @pytest.mark.parametrize("end", [Unbind("g", "q"), Bind("g", "q")])
    def test_nothing_is_covered_after_the_end_of_all_or_for_good(self, end: Event) -> None:
        feed = route()
        feed(Bind("g", "q", "open"), Bind("g", "q", "late"), end)
        assert {key[:1] for key, _ in feed.rows.items()} <= {b"m"}

    def test_few_sessions_are_covered_in_a_flood(self) -> None:
        feed = route()
        feed(*(Bind("g", "q", f"s{number}") for number in range(200)))
        (row,) = (value for key, value in feed.rows.items() if key.startswith(b"u"))
        assert row.count(b"\0") == 64

    def test_a_permanent_binding_stays(self) -> None:
        feed = route()
        outputs = feed(Bind("g", "q"), Bind("g", "q", "s"), Unbind("g", "q", "s"))
        assert changes(outputs) == [(0, 1, "g", "q", "")]
        assert views.member(feed.rows, "g", "q") == views.Membership("q", None, 0)

    def test_a_session_s_binding_becomes_permanent(self) -> None:
        feed = route()
        outputs = feed(Bind("g", "q", "s"), Bind("g", "q"), Unbind("g", "q", "s"))
        assert changes(outputs) == [(0, 1, "g", "q", "s"), (1, 1, "g", "q", "")]

    def test_an_unbind_without_session_removes_any(self) -> None:
        feed = route()
        outputs = feed(Bind("g", "q", "s"), Unbind("g", "q"))
        assert changes(outputs)[1:] == [(1, 0, "g", "q", "s")]

    @pytest.mark.parametrize(
        ("before", "replaced"),
        [(None, False), (Bind("g", "q"), False), (Bind("g", "q", "a"), True)],
    )
    def test_a_bind_that_replaces_does_only_that(self, before: Bind | None, replaced: bool) -> None:
        feed = route()
        if before:
            feed(before)
        assert bool(feed(Bind("g", "q", "b", origin=Origin(0, 1, 0), replaces="a"))) == replaced

    def test_what_deliver_asked_for_counts_once(self) -> None:
        # Given that deliver asked for two events, and they were folded
        feed = route()
        asked: list[Event] = [
            Bind("g", "q", "s", origin=Origin(0, 7, 0)),
            Unbind("g", "q", "s", origin=Origin(0, 7, 1)),
        ]
        assert len(changes(feed(*asked))) == 2
        # When a zombie asks again, and later the owner for something new
        assert feed(*asked) == []
        new = feed(Bind("g", "q", "s", origin=Origin(0, 8, 0)))
        # Then only the new counts
        assert len(changes(new)) == 1
        assert views.members(feed.rows, "g") == (["q"], None)

    def test_each_partition_of_deliver_is_on_its_own(self) -> None:
        feed = route(2, partition_of(b"g", 2))
        feed(Bind("g", "q", "s", origin=Origin(0, 7, 0)))
        assert len(changes(feed(Bind("g", "r", "s", origin=Origin(1, 3, 0))))) == 1


class TestMessages:
    def test_a_message_goes_to_those_bound_at_its_position(self) -> None:
        # Given members who come and go
        feed = route()
        outputs = feed(
            Bind("g", "q1"),
            Bind("g", "q2"),
            Message("m1", "g", "me"),
            Unbind("g", "q1"),
            Message("m2", "g", "me"),
            Bind("g", "q0"),
            Message("m3", "g", "me"),
            Message("m4", "empty", "me"),
        )
        # Then each message goes to the members of its moment, in their order
        assert deliveries(outputs) == [
            (2, 0, "m1", ("q1", "q2")),
            (4, 0, "m2", ("q2",)),
            (6, 0, "m3", ("q0", "q2")),
        ]

    def test_a_direct_message_needs_no_binding(self) -> None:
        feed = route()
        assert deliveries(feed(Message("m", "@q", "me"))) == [(0, 0, "m", ("q",))]

    def test_its_time_is_that_of_the_log(self) -> None:
        feed = route()
        (output,) = feed(Message("m", "@q", "me", body=b"hi", at=5), at=2000)
        assert isinstance(output, Routed)
        assert decode(output.delivery_messages[0]) == Message("m", "@q", "me", body=b"hi", at=2000)

    def test_the_time_never_goes_back(self) -> None:
        feed = route()
        feed(Message("m1", "@q", "me"), at=2000)
        (output,) = feed(Message("m2", "@q", "me"), at=1000)
        assert isinstance(output, Routed)
        later = decode(output.delivery_messages[0])
        assert isinstance(later, Message)
        assert later.at == 2000

    @pytest.mark.parametrize(("later", "count"), [(0, 0), (WINDOW, 0), (WINDOW + 1, 1)])
    def test_an_id_counts_once_within_the_window(self, later: int, count: int) -> None:
        feed = route()
        feed(Message("m", "@q", "me"), at=1000)
        assert len(deliveries(feed(Message("m", "@q", "me"), at=1000 + later))) == count

    def test_another_sender_has_ids_of_its_own(self) -> None:
        # Given someone who uses up the ids that another sender will use
        feed = route()
        feed(Message("poll-7", "@q", "mallory"), Message("poll-7", "@q", ""))
        # When that sender sends, twice
        outputs = feed(Message("poll-7", "@q", "me"), Message("poll-7", "@q", "me"))
        # Then the first one arrives, and the second is a repetition
        assert deliveries(outputs) == [(2, 0, "poll-7", ("q",))]

    def test_no_sender_and_id_are_mistaken_for_another_pair(self) -> None:
        feed = route()
        senders = ("a", "a\0b", "b", "", "\0", "s" * 255, "s" * 256, "s" * 257)
        outputs = feed(*(Message("m", "@q", sender) for sender in senders))
        assert len(deliveries(outputs)) == len(senders)
        assert feed(*(Message("m", "@q", sender) for sender in senders)) == []
        assert all(len(key) < 600 for key, _ in feed.rows.items())

    def test_the_sender_is_told_of_a_repetition_if_it_wants_receipts(self) -> None:
        feed = route()
        message = Message("m", "@q", "me", receipt=True)
        feed(message, at=1000)
        (output,) = feed(message, at=2000)
        assert isinstance(output, Routed)
        assert deliveries([output]) == [(1, 0, "duplicate-0-1", ("me",))]
        told = decode(output.delivery_messages[0])
        assert isinstance(told, Message)
        assert (told.kind, told.group, told.sender, told.at) == ("duplicate", "@me", "", 2000)
        assert json.loads(told.body) == {"id": "m", "group": "@q", "first_at": 1000}

    @pytest.mark.parametrize("sender", ["", "\n", "s" * 256])
    def test_a_sender_without_a_queue_is_not_told(self, sender: str) -> None:
        feed = route()
        message = Message("m", "@q", sender, receipt=True)
        feed(message)
        assert feed(message) == []
        assert feed.fold._counts.duplicates == 1

    def test_another_group_has_ids_of_its_own(self) -> None:
        feed = route()
        assert len(deliveries(feed(Message("m", "@q", "me"), Message("m", "@r", "me")))) == 2

    def test_ids_are_forgotten(self) -> None:
        # Given many messages of one moment
        feed = route()
        feed(*(Message(f"m{n}", "@q", "me") for n in range(150)), at=1000)
        rows = len(feed.rows)
        # When the window and a second are over, Then each message has some of their ids removed
        feed(Message("a", "@q", "me"), at=LATER + WINDOW)
        assert len(feed.rows) == rows + 2 - 2 * 64
        feed(Message("b", "@q", "me"), Message("c", "@q", "me"), at=LATER + WINDOW)
        # And in the end there is nothing left but those of the window, and the time
        assert len(feed.rows) == 1 + 2 * 3

    def test_an_id_that_comes_back_before_it_is_forgotten_is_kept_once(self) -> None:
        feed = route()
        feed(*(Message(f"m{n:03}", "@q", "me") for n in range(150)), at=1000)
        feed(Message("m149", "@q", "me"), at=LATER + WINDOW)
        feed(Message("m149", "@q", "me"), at=LATER + 2 * WINDOW)
        feed(Message("x", "@q", "me"), Message("y", "@q", "me"), at=LATER + 2 * WINDOW)
        assert deliveries(feed(Message("m149", "@q", "me"), at=LATER + 2 * WINDOW)) == []
        assert len(feed.rows) == 1 + 2 * 3


class TestBigGroups:
    def test_a_message_to_many_goes_in_parts_and_turns(self) -> None:
        # Given a group of 2,500 queues in two partitions
        feed = route(2, partition_of(b"g", 2))
        queues = [f"q{number:04}" for number in range(2500)]
        feed(*(Bind("g", queue) for queue in queues))
        # When a message comes
        outputs = feed(Message("m", "g", "me"))
        # Then the event loop gets turns, and the parts of each partition are numbered
        assert feed.turns >= 1
        entries = deliveries(outputs)
        for target in (0, 1):
            own = [e for e in entries if partition_of(e[3][0].encode(), 2) == target]
            assert [part for _, part, _, _ in own] == [0, 1, 2]
            assert len(own[0][3]) == 500
            assert [queue for e in own for queue in e[3]] == [
                queue for queue in queues if partition_of(queue.encode(), 2) == target
            ]

    def test_no_record_has_more_deliveries_than_seqs(self) -> None:
        feed = route()
        feed(*(Bind("g", f"q{number:04}") for number in range(1000)))
        outputs = feed(*(Message(f"m{number}", "g", "me") for number in range(9)))
        sizes = [
            sum(map(len, output.delivery_queues))
            for output in outputs
            if isinstance(output, Routed)
        ]
        assert sizes == [4000, 4000, 1000]

    def test_no_record_has_too_many_changes(self) -> None:
        feed = route()
        outputs = feed(*(Bind("g", f"q{number:04}") for number in range(8193)))
        assert [len(o.change_kinds) for o in outputs if isinstance(o, Routed)] == [8192, 1]

    def test_no_record_is_too_large_for_its_topic(self) -> None:
        # Given the longest ids, and the largest messages
        feed = route()
        queues = [f"{number:0255}" for number in range(1000)]
        feed(*(Bind("g", queue, "s" * 255) for queue in queues))
        largest = Message(
            "m", "g", "me", body=b"x" * MAX_MESSAGE_BODY, headers={"a": "x" * 500_000}
        )
        # When all of them come at once
        for number in range(3):
            feed.raw(b"g", encode(Message(f"m{number}", "g", "me", largest.kind, largest.headers)))
            feed.raw(b"g", encode(Message(f"n{number}", "g", "me", body=largest.body)))
            for queue in queues:
                feed.raw(b"g", encode(Unbind("g", queue)))
                feed.raw(b"g", encode(Bind("g", queue, "s" * 255)))
        # Then each record fits
        assert max(len(output.value) for output in feed.outputs()) < MAX_MESSAGE_BYTES + 300_000


def test_outputs_name_their_place() -> None:
    feed = route(4, partition_of(b"g", 4))
    for number in range(20):
        feed.raw(b"g", encode(Bind("g", f"q{number}")))
    outputs = feed.outputs()
    assert len(outputs) == 4
    for output in outputs:
        routed = decode(output.value)
        assert isinstance(routed, Routed)
        assert output.topic == "queue-events"
        assert output.type == "Routed"
        assert output.key == key_of(routed)
        assert routed.source == feed.partition
        assert {partition_of(q.encode(), 4) for q in routed.change_queues} == {output.partition}


AWAY = 1 - partition_of(b"g", 2)


@pytest.mark.parametrize(
    ("key", "event", "reason"),
    [
        (b"h", Bind("g", "q"), "the key is not the group"),
        (None, Bind("g", "q"), "the key is not the group"),
        (b"h", Message("m", "g", "me"), "the key is not the group"),
        (b"", Bind("", "q"), "group is n(ot|either) a valid group id"),
        (b"g\0", Bind("g\0", "q"), "group is n(ot|either) a valid group id"),
        (b"@q", Bind("@q", "q"), "group is not a valid group id"),
        (b"@q", Unbind("@q", "q"), "group is not a valid group id"),
        (b"g", Bind("g", "q\0"), "queue is not a valid id"),
        (b"g", Unbind("g", ""), "queue is not a valid id"),
        (b"g", Bind("g", "q", ""), "session is not a valid id"),
        (b"g", Bind("g", "q", "\n"), "session is not a valid id"),
        (b"@", Message("m", "@", "me"), "group is n(ot|either) a valid group id"),
        (b"g", Message("", "g", "me"), "id is not a valid id"),
        (b"g", Message("m", "g", "me", body=bytes(MAX_MESSAGE_BODY + 1)), "body has"),
        (b"g", Message("m", "g", "me", headers={"a": "x" * MAX_MESSAGE_BYTES}), "Message has"),
        (b"g", Bind("g", "q", origin=Origin(9, 0, 0)), "the origin is not a position"),
        (b"g", Bind("g", "q", origin=Origin(-1, 0, 0)), "the origin is not a position"),
        (b"g", Bind("g", "q", origin=Origin(0, -1, 0)), "the origin is not a position"),
        (b"g", Bind("g", "q", origin=Origin(0, 0, -1)), "the origin is not a position"),
        (b"q", Close("q", "s"), "Close is not an event of a group"),
    ],
)
def test_what_means_nothing_is_refused_and_changes_nothing(
    key: bytes | None, event: Event, reason: str
) -> None:
    feed: Feed[Route] = route()
    feed(Bind("g", "q", "s"))
    before = list(feed.rows.items())
    with pytest.raises(BadRecord, match=reason):
        feed.raw(key, encode(event))
    assert list(feed.rows.items()) == before
    assert feed.outputs() == []


@pytest.mark.parametrize("event", [Bind("g", "q"), Unbind("g", "q"), Message("m", "g", "me")])
def test_a_key_of_another_partition_is_refused(event: Event) -> None:
    feed = route(2, AWAY)
    with pytest.raises(BadRecord, match=f"belongs to partition {1 - AWAY}, not {AWAY}"):
        feed(event)


class TestWhatAMessageAsksFor:
    def test_one_that_has_expired_goes_nowhere(self) -> None:
        feed = route()
        feed(Bind("g", "q"))
        assert feed(Message("m", "g", "me", expires_at=1000), at=1000) == []
        (routed,) = feed(Message("n", "g", "me", expires_at=1001), at=1000)
        assert isinstance(routed, Routed)

    def test_without_echo_the_sender_is_left_out(self) -> None:
        feed = route()
        feed(Bind("g", "q"), Bind("g", "me"))
        (routed,) = feed(Message("m", "g", "me", echo=False))
        assert isinstance(routed, Routed)
        assert routed.delivery_queues == (("q",),)
        assert feed(Message("n", "@me", "me", echo=False)) == []

    def test_one_that_deliver_asked_for_counts_once(self) -> None:
        feed = route()
        asked = Message("m", "@q", "me", origin=Origin(0, 7, 1))
        (routed,) = feed(asked)
        assert isinstance(routed, Routed)
        assert feed(asked) == []
        assert feed(Message("other", "@q", "me", origin=Origin(0, 7, 0))) == []
        # and its id is still free
        assert len(feed(Message("m", "@q", "me"))) == 1


class TestRowsOfVersion01:
    """Version 0.1 remembered ids without their senders, and the log time without a mark."""

    def feed_of_01(self) -> Feed[Route]:
        rows = MemoryRows()
        for ident in (b"m", b"n"):
            rows.put(b"d@q", ident, (1000).to_bytes(8, "big"))
            rows.put(b"x", (1000).to_bytes(8, "big") + b"@q\0" + ident, b"")
        rows.put(b"t", b"", (1000).to_bytes(8, "big"))
        return route(rows=rows)

    def test_an_id_that_it_has_seen_is_a_repetition(self) -> None:
        feed = self.feed_of_01()
        assert feed(Message("m", "@q", "me"), at=1000 + WINDOW) == []
        assert feed(Message("m", "@q", "you"), at=1000 + WINDOW) == []
        assert len(deliveries(feed(Message("o", "@q", "me"), at=1000 + WINDOW))) == 1

    def test_its_ids_are_forgotten_with_the_window(self) -> None:
        feed = self.feed_of_01()
        # When a message comes within the window, and others after it
        feed(Message("a", "@q", "me"), at=1000 + WINDOW)
        outputs = feed(Message("m", "@q", "me"), Message("n", "@q", "me"), at=LATER + WINDOW)
        # Then the old ids are free, and only the new ones are kept
        assert len(deliveries(outputs)) == 2
        assert feed(Message("m", "@q", "me"), at=LATER + WINDOW) == []
        assert len(feed.rows) == 1 + 2 * 3
        assert feed.rows.get(b"t", b"") == (LATER + WINDOW).to_bytes(8, "big") + b"\1"

    def test_they_are_known_after_a_restart(self) -> None:
        feed = self.feed_of_01()
        feed(Message("a", "@q", "me"), at=5000)
        again = route(rows=feed.rows)
        assert again(Message("m", "@q", "me"), at=6000) == []
        assert len(deliveries(again(Message("a", "@q", "you"), at=6000))) == 1
