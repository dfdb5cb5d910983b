"""Which records of the folds are accepted: those of this system, and of no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import deliver, key_of, route
from hypothesis import given
from hypothesis import strategies as st

from streams.events.codec import encode
from streams.events.records import Bind, Event, Message, Open, Origin, Routed, Unbind
from streams.fold import BadRecord
from streams.folds.log_numbers import LogNumbers, log_number

LOGS = LogNumbers(group_events=11, queue_events=22)
OURS = Origin(0, 7, 0, 22)

ASKED: list[Bind | Unbind | Message] = [
    Bind("g", "q", "s", origin=OURS),
    Bind("g", "q", "s", origin=OURS, replaces="t"),
    Unbind("g", "q", "s", origin=OURS),
    Message("m", "@q", "me", origin=OURS),
    Message("m", "g", "me", origin=OURS),
]
ROUTED = Routed(0, (5,), b"\1", ("g",), ("q",), ("",), log=11)

WRONG = [
    (0, "has no log number: no fold wrote it, or version 0.1 did"),
    (11, "names log 11, not 22: the record was copied or forged"),
    (23, "names log 23, not 22"),
    (-1, "names log -1, not 22"),
]


@pytest.mark.parametrize("event", ASKED)
@pytest.mark.parametrize(("number", "reason"), WRONG)
def test_an_origin_of_another_log_is_refused_and_silences_nobody(
    event: Bind | Unbind | Message, number: int, reason: str
) -> None:
    # Given a queue in a group
    feed = route(logs=LOGS)
    feed(Bind("g", "q"))
    before = list(feed.rows.items())

    # When a copy of another system's log brings an origin that is far ahead
    copied = replace(event, origin=Origin(0, 10**12, 0, number))
    with pytest.raises(BadRecord, match=reason):
        feed(copied)

    # Then it changes nothing, and what this system's deliver fold requests is done
    assert list(feed.rows.items()) == before
    assert len(feed(Unbind("g", "q", origin=OURS))) == 1


@pytest.mark.parametrize("event", ASKED)
def test_an_origin_of_this_log_is_accepted(event: Bind | Unbind | Message) -> None:
    feed = route(logs=LOGS)
    feed(event)
    with pytest.raises(BadRecord):
        feed(replace(event, origin=replace(OURS, offset=8, log=0)))


@pytest.mark.parametrize(
    ("number", "reason"), [(0, "no log number"), (22, "not 11"), (12, "not 11")]
)
@pytest.mark.parametrize("lane", [0, 1])
def test_a_routed_of_another_log_is_refused_and_silences_nobody(
    number: int, reason: str, lane: int
) -> None:
    feed = deliver(logs=LOGS)
    before = list(feed.rows.items())
    with pytest.raises(BadRecord, match=reason):
        feed(replace(ROUTED, change_offsets=(10**12,), log=number, lane=lane))
    assert list(feed.rows.items()) == before
    feed(replace(ROUTED, lane=lane))
    assert list(feed.rows.items()) != before


@pytest.mark.parametrize("number", [0, 23])
def test_records_of_version_01_are_accepted_up_to_the_upgrade(number: int) -> None:
    # Given an upgrade at 5000
    logs = replace(LOGS, unnumbered_until=5000)
    groups, queues = route(logs=logs), deliver(logs=logs)
    bind, routed = Bind("g", "q", origin=replace(OURS, log=number)), replace(ROUTED, log=number)

    # Then a record without a number is accepted if the broker got it before, and only then
    for feed, event in ((groups, bind), (queues, routed)):
        with pytest.raises(BadRecord):
            feed.raw(key_of(event), encode(event), at=5000)
        assert len(feed.rows) == 0
        if number:
            with pytest.raises(BadRecord):
                feed.raw(key_of(event), encode(event), at=4999)
        else:
            feed.raw(key_of(event), encode(event), at=4999)
            assert len(feed.rows) == 2


def test_only_the_deliver_fold_replaces_a_binding() -> None:
    feed = route(logs=LOGS)
    feed(Bind("g", "q", "s"))
    before = list(feed.rows.items())
    with pytest.raises(BadRecord, match="replaces is set, but no fold requested this event"):
        feed(Bind("g", "q", "t", replaces="s"))
    assert list(feed.rows.items()) == before


def test_the_folds_accept_the_records_of_each_other() -> None:
    # Given an open session, and a bind within an older one
    groups, queues = route(logs=LOGS), deliver(logs=LOGS)
    asked = queues(Open("q", "s", ("g",)))
    outputs: list[Event] = groups(*asked)
    outputs += groups(Bind("g", "q", "old"))
    # When the deliver fold folds what route wrote, and the other way round
    more = queues(*outputs)
    # Then nothing is refused, and all of it is numbered
    assert groups(*more)
    assert {event.log for event in outputs if isinstance(event, Routed)} == {11}
    numbers = {
        event.origin.log
        for event in (*asked, *more)
        if isinstance(event, Bind | Unbind | Message) and event.origin
    }
    assert numbers == {22}


@given(st.binary(min_size=16, max_size=16))
def test_every_topic_has_a_number_that_avro_can_write(topic: bytes) -> None:
    assert 0 < log_number(topic) < 1 << 63


def test_the_number_of_a_topic_never_changes() -> None:
    # The log holds numbers: another way to derive them would refuse the records there.
    assert log_number(bytes(range(16))) == 0x0404040404040404
    assert log_number(bytes(16)) == 1
