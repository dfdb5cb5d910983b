"""Bindings with patterns: what matches, what reaches whom, and what there may be."""

from __future__ import annotations

import time
from typing import Any

import pytest
import semantics
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import Feed, route
from hypothesis import given
from hypothesis import strategies as st
from test_route import changes, deliveries

from streams.events.codec import encode
from streams.events.records import Bind, BindPattern, Message, Unbind, UnbindPattern
from streams.fold import BadRecord
from streams.folds import patterns, views
from streams.folds.fans import LARGEST
from streams.folds.route import Route
from streams.folds.row_keys import LARGE_GROUPS
from streams.operate import describe

words = st.lists(st.sampled_from(["a", "b", "c", "", "é"]), max_size=7)
parts = st.lists(st.sampled_from(["a", "b", "", "*", "#", "#", "a*", "##"]), max_size=7)


@given(parts.map(".".join), words.map(".".join))
def test_patterns_match_as_a_regular_expression_says(pattern: str, key: str) -> None:
    matches = patterns.compiled(pattern.encode())
    assert matches(patterns.words_of(key.encode())) == semantics.matches(pattern, key)


@given(parts.map(".".join))
def test_a_pattern_that_matches_all_is_known(pattern: str) -> None:
    # Two keys that have nothing in common, and none
    every = all(semantics.matches(pattern, key) for key in ("", "x", "y.z.y"))
    assert patterns.matches_all(pattern.encode()) == every


def test_no_pattern_takes_long() -> None:
    pattern, key = b".".join([b"#", b"a"] * 63), b".".join([b"a"] * 126 + [b"b"])
    began = time.process_time()
    assert not patterns.compiled(pattern)(patterns.words_of(key))
    assert time.process_time() - began < 1  # tried one by one, more ways than there is time for


def message(number: int, key: str | None = None, group: str = "g", **more: Any) -> Message:
    headers = {} if key is None else {"routing-key": key}
    return Message(f"m{number}", group, "me", headers=headers, **more)


def receivers(feed: Feed[Route], key: str | None = None, **more: Any) -> list[str]:
    """Publish a message; return its receivers, each as often as it gets it."""
    found = deliveries(feed(message(feed.offset, key, **more)))
    return sorted(queue for *_, queues in found for queue in queues)


def test_a_message_reaches_the_bindings_that_match_once() -> None:
    feed = route()
    bound = [("q", "a.*"), ("q", "*.b"), ("r", "a.#"), ("s", "#"), ("t", "a.b"), ("u", "")]
    outputs = feed(*(BindPattern("g", *one) for one in bound), Bind("g", "v"))
    assert [(kind, queue) for _, kind, _, queue, _ in changes(outputs)] == [
        (1, queue) for queue in "qrstuv"
    ]
    assert receivers(feed, "a.b") == ["q", "r", "s", "t", "v"]
    assert receivers(feed, "a") == ["r", "s", "v"]
    assert receivers(feed, "x.b") == ["q", "s", "v"]
    assert receivers(feed, "") == ["s", "u", "v"]
    assert receivers(feed) == ["s", "v"]  # without a routing key, only what matches everything
    assert receivers(feed, "a." + "x" * 300) == ["s", "v"]  # no AMQP client can send that
    assert receivers(feed, "a.b", group="other") == []


def test_a_sender_may_want_no_copy() -> None:
    feed = route()
    feed(BindPattern("g", "me", "a"), BindPattern("g", "q", "a"))
    assert receivers(feed, "a", echo=False) == ["q"]
    assert receivers(feed, "a") == ["me", "q"]


def test_unbinding_a_pattern_leaves_the_others() -> None:
    feed = route()
    feed(BindPattern("g", "q", "a"), BindPattern("g", "q", "b"), BindPattern("g", "q", "#"))
    assert changes(feed(UnbindPattern("g", "q", "#"), UnbindPattern("g", "q", "#"))) == []
    assert (receivers(feed, "a"), receivers(feed, "c"), receivers(feed)) == (["q"], [], [])
    assert views.binding_patterns(feed.rows, "g", "q") == ["a", "b"]
    assert changes(feed(UnbindPattern("g", "q", "a"))) == []
    assert (receivers(feed, "a"), receivers(feed, "b")) == ([], ["q"])
    # The last one is the binding
    (change,) = changes(feed(UnbindPattern("g", "q", "b"), UnbindPattern("g", "q", "b")))
    assert change[1:] == (0, "g", "q", "")
    assert views.member(feed.rows, "g", "q") is None
    assert views.pattern_count(feed.rows, "g") == 0
    assert [key for key, _ in feed.rows.items() if key[:1] in b"mnp"] == []


def test_unbinding_a_queue_ends_all_of_its_patterns() -> None:
    feed = route()
    feed(*(BindPattern("g", queue, f"{n}.*") for queue in ("q", "q1") for n in range(5)))
    assert changes(feed(Unbind("g", "q", "s"))) == []  # they belong to no session
    (change,) = changes(feed(Unbind("g", "q")))
    assert change[1:] == (0, "g", "q", "")
    assert receivers(feed, "3.x") == ["q1"]
    assert views.pattern_count(feed.rows, "g") == 5


def test_a_binding_to_every_message_has_no_patterns() -> None:
    feed = route()
    feed(BindPattern("g", "q", "a"), Bind("g", "q"))
    assert views.binding_patterns(feed.rows, "g", "q") == []
    assert receivers(feed, "z") == ["q"]
    assert feed(BindPattern("g", "q", "a"), UnbindPattern("g", "q", "a")) == []
    assert receivers(feed, "z") == ["q"]


def test_a_pattern_takes_the_place_of_a_binding_in_a_session() -> None:
    feed = route()
    feed(Bind("g", "q", "old"), Bind("g", "q", "s"))
    assert receivers(feed) == ["q"]
    ((_, *change),) = changes(feed(BindPattern("g", "q", "a")))
    assert change == [1, "g", "q", ""]
    assert feed(Unbind("g", "q", "s"), Bind("g", "q", "t")) == []
    assert (receivers(feed), receivers(feed, "a")) == ([], ["q"])


def test_a_group_may_have_so_many_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MOST_PATTERNS", 2)
    feed = route()
    feed(BindPattern("g", "q", "a"), BindPattern("g", "r", "a"))
    rows = list(feed.rows.items())
    for queue in ("q", "s"):
        with pytest.raises(BadRecord, match="may have 2 patterns at most"):
            feed(BindPattern("g", queue, "b"))
    assert list(feed.rows.items()) == rows  # a dead letter changes nothing
    assert feed(BindPattern("g", "q", "a")) == []  # which is there already
    feed(UnbindPattern("g", "q", "a"), BindPattern("g", "s", "b"), BindPattern("h", "s", "b"))
    assert receivers(feed, "b") == ["s"]


def test_messages_of_a_group_with_many_patterns_do_not_overtake_each_other() -> None:
    # Given a group with more patterns than are cached, but for a message without a key
    feed = route()
    feed(*(BindPattern("g", f"q{n:04}", f"a.{n}.#") for n in range(LARGEST)))
    feed(BindPattern("g", "every", "#"))
    assert receivers(feed) == ["every"]
    # When one comes with a key, then it takes the second lane, as all do from then on
    assert receivers(feed, "a.7.x") == ["every", "q0007"]
    assert feed.rows.get(LARGE_GROUPS, b"g") is not None
    feed(*(Unbind("g", f"q{n:04}") for n in range(500)))
    for key, expected in ((None, ["every"]), ("a.7", ["every"]), ("a.700", ["every", "q0700"])):
        (output,) = feed(message(feed.offset, key))
        assert getattr(output, "lane", None) == 1
        assert output.delivery_queues == (tuple(expected),)  # type: ignore[union-attr]


def test_what_is_remembered_of_patterns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_CACHED", 10)
    monkeypatch.setattr(patterns, "_KEYS", 10)
    feed = route()
    for number in range(20):
        group = f"g{number}"
        feed(BindPattern(group, "q", "a.*"), BindPattern(group, "q", "#.b"))
        for key in ("a.1", "a.b", "x"):
            assert receivers(feed, key, group=group) == ([] if key == "x" else ["q"])
    kept = feed.fold._patterns
    assert 0 < len(kept._tables) <= 3
    assert 0 < len(kept._reached) <= 10


def test_members_are_listed_by_what_reaches_them() -> None:
    feed = route()
    feed(Bind("g", "b"), BindPattern("g", "a", "x.*"), BindPattern("g", "a", "*.y"))
    feed(BindPattern("g", "c", "x.y"), BindPattern("g", "c!", "#"), BindPattern("g", "d", "z"))
    feed(BindPattern("g", "c!", "x.#"))
    everyone = views.reached(feed.rows, "g", "x.y")
    assert everyone == (["a", "b", "c", "c!"], None)
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page, after = views.reached(feed.rows, "g", "x.y", after, 1)
        found += page
    assert found == everyone[0]
    assert views.reached(feed.rows, "g", "q") == (["b", "c!"], None)


def test_rows_with_patterns_are_described() -> None:
    feed = route()
    feed(BindPattern("g", "q", "é.#"))
    shown = [describe.row("members", key, value) for key, value in feed.rows.items()]
    assert {"row": "pattern", "group": "g", "queue": "q", "pattern": "é.#"} in shown
    assert {"row": "patterns", "group": "g", "patterns": 1} in shown
    member = next(row for row in shown if row["row"] == "member")
    assert (member["session"], member["patterns"]) == (None, True)


@pytest.mark.parametrize("pattern", ["x" * 256, "a\0b", "a\n"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    feed = route()
    with pytest.raises(BadRecord, match="not a valid pattern"):
        feed.raw(b"g", encode(BindPattern("g", "q", pattern)))
    assert not list(feed.rows.items())
