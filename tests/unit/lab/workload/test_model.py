"""The model says what DESIGN.md says, and `compare` sees every way to break it."""

from __future__ import annotations

import pytest

from streams.events.records import Bind, Message, Origin, Unbind
from streams.lab.workload.model import WINDOW_MS, GroupEvent, Model, QueuedMessage, compare


def fold(*events: GroupEvent, step_ms: int = 1, start: dict[str, list[str]] | None = None) -> Model:
    model = Model(lambda group: (start or {}).get(group, ()))
    for offset, event in enumerate(events):
        model.apply(0, offset, offset * step_ms, event)
    return model


def test_a_message_reaches_exactly_those_bound_at_its_position() -> None:
    # Given q1 bound before the message, q2 after it, q3 gone before it
    model = fold(
        Bind("g", "q1"),
        Bind("g", "q3"),
        Unbind("g", "q3"),
        Message("m", "g", "s"),
        Bind("g", "q2"),
    )
    # Then only q1 must have it
    assert dict(model.received) == {"q1": [("g", "m")]}
    assert model.deliveries == 1
    assert dict(model.bindings("g")) == {"q1": None, "q2": None}


def test_members_at_the_start_count() -> None:
    # Given a group with members from before
    model = fold(Unbind("g", "a"), Message("m", "g", "s"), start={"g": ["a", "b"]})
    # Then who left in time gets nothing
    assert dict(model.received) == {"b": [("g", "m")]}
    assert list(model.touched()) == ["g"]


def test_direct_messages_need_no_binding() -> None:
    # When a message goes to the group "@q"
    model = fold(Message("m", "@q", "s"))
    # Then q has it
    assert dict(model.received) == {"q": [("@q", "m")]}


def test_the_same_message_again_is_no_message() -> None:
    # Given a message sent twice, and a third time when the window is over
    message = Message("m", "g", "s")
    soon = fold(message, message, start={"g": ["q"]}, step_ms=WINDOW_MS)
    late = fold(message, message, start={"g": ["q"]}, step_ms=WINDOW_MS + 1)
    # Then the second is dropped within the window, not after it
    assert soon.received["q"] == [("g", "m")]
    assert late.received["q"] == [("g", "m"), ("g", "m")]
    # And another group may use the id
    other = fold(message, Message("m", "h", "s"), start={"g": ["q"], "h": ["q"]})
    assert other.received["q"] == [("g", "m"), ("h", "m")]


@pytest.mark.parametrize(
    ("events", "session"),
    [
        ([Bind("g", "q", "a")], "a"),
        ([Bind("g", "q"), Bind("g", "q", "a")], None),
        ([Bind("g", "q", "a"), Bind("g", "q")], None),
        ([Bind("g", "q", "a"), Bind("g", "q", "b")], "b"),
        ([Bind("g", "q", "b"), Unbind("g", "q", "a")], "b"),
        ([Bind("g", "q"), Unbind("g", "q", "a")], None),
        ([Bind("g", "q", "a"), Bind("g", "q", "b", replaces="a")], "b"),
        ([Bind("g", "q", "c"), Bind("g", "q", "b", replaces="a")], "c"),
        ([Bind("g", "q", "a"), Bind("g", "q", "b"), Unbind("g", "q", "b")], "a"),
        ([Bind("g", "q", "a"), Bind("g", "q", "b"), Bind("g", "q", "a")], "a"),
        ([Bind("g", "q", "a"), Bind("g", "q", "b"), Unbind("g", "q", "a")], "b"),
        ([Bind("g", "q"), Bind("g", "q", "b", replaces="a")], None),
    ],
)
def test_bindings_of_sessions(events: list[GroupEvent], session: str | None) -> None:
    # Given binds and unbinds with and without a session
    # Then the binding that is left is the one that DESIGN.md says
    assert dict(fold(*events).bindings("g")) == {"q": session}


@pytest.mark.parametrize("session", [None, "a"])
def test_unbind_of_a_session_or_of_all(session: str | None) -> None:
    # Given the binding of a session
    # Then its own unbind ends it, and so does one without a session
    assert not fold(Bind("g", "q", "a"), Unbind("g", "q", session)).bindings("g")


def test_an_asked_event_counts_once() -> None:
    # Given an unbind that the system asked for, a bind, and the same unbind once more
    asked = Unbind("g", "q", "a", origin=Origin(3, 17, 0))
    model = fold(Bind("g", "q", "a"), asked, Bind("g", "q", "a"), asked)
    # Then the repetition changes nothing
    assert dict(model.bindings("g")) == {"q": "a"}


def test_the_log_has_an_order() -> None:
    # Given an event at offset 5
    model = Model()
    model.apply(0, 5, 0, Bind("g", "q"))
    # Then none may come before it in its partition, in another it may
    model.apply(1, 0, 0, Bind("h", "q"))
    with pytest.raises(ValueError, match="offset 5"):
        model.apply(0, 5, 0, Bind("g", "q"))


EXPECTED = {"q": [("g", "m1"), ("g", "m2"), ("h", "n1")]}


def test_all_is_well() -> None:
    # Given what was expected; groups may interleave, and a seq may be told twice
    received = [
        QueuedMessage(1, "g", "m1"),
        QueuedMessage(5, "h", "n1"),
        QueuedMessage(9, "g", "m2"),
        QueuedMessage(9, "g", "m2"),
    ]
    verdict = compare(EXPECTED, {"q": received})
    # Then there is nothing to say
    assert verdict.ok
    assert (verdict.expected, verdict.received, verdict.examples) == (3, 3, [])


@pytest.mark.parametrize(
    ("received", "missing", "duplicated", "unexpected", "out_of_order"),
    [
        ({}, 3, 0, 0, 0),
        ({"q": [(1, "g", "m1"), (2, "h", "n1")]}, 1, 0, 0, 0),
        ({"q": [(1, "g", "m1"), (2, "g", "m2"), (3, "h", "n1"), (4, "g", "m1")]}, 0, 1, 0, 0),
        ({"q": [(1, "g", "m1"), (2, "g", "m2"), (3, "h", "n1"), (4, "g", "m9")]}, 0, 0, 1, 0),
        (
            {"q": [(1, "g", "m1"), (2, "g", "m2"), (3, "h", "n1")], "r": [(1, "g", "m1")]},
            0,
            0,
            1,
            0,
        ),
        ({"q": [(2, "g", "m1"), (1, "g", "m2"), (3, "h", "n1")]}, 0, 0, 0, 1),
    ],
)
def test_what_is_wrong_is_seen(
    received: dict[str, list[tuple[int, str, str]]],
    missing: int,
    duplicated: int,
    unexpected: int,
    out_of_order: int,
) -> None:
    # Given deliveries that differ from what the model says
    deliveries = {queue: [QueuedMessage(*row) for row in rows] for queue, rows in received.items()}
    verdict = compare(EXPECTED, deliveries)
    # Then the verdict counts what is wrong, and names it
    assert (verdict.missing, verdict.duplicated, verdict.unexpected, verdict.out_of_order) == (
        missing,
        duplicated,
        unexpected,
        out_of_order,
    )
    assert not verdict.ok
    assert len(verdict.examples) == missing + duplicated + unexpected + out_of_order
