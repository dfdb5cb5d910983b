"""Configures that keep what was declared, and those that have an effect on new queues only."""

from __future__ import annotations

import pytest
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import Feed, deliver
from test_time import delivered

from streams.events.records import Configure, Delete, Lease
from streams.folds import views
from streams.folds.deliver import Deliver
from streams.folds.options import Queue


def found(feed: Feed[Deliver]) -> Configure:
    """Return the options of the queue."""
    state = views.options(feed.rows, "q")
    assert isinstance(state, Queue)
    return state.options


def test_what_was_declared_is_kept_with_the_options() -> None:
    feed = deliver()
    feed(Configure("q", declared='{"durable":true}', at=5))
    assert found(feed) == Configure("q", declared='{"durable":true}', at=5)
    feed(Configure("q", at=6))
    assert found(feed) == Configure("q", at=6)


@pytest.mark.parametrize(
    "first", [Configure("q", max_tries=3), Configure("q", declared=""), Configure("q", ttl_ms=9000)]
)
def test_the_first_declaration_wins(first: Configure) -> None:
    feed = deliver()
    feed(first)
    feed(Configure("q", max_length=1, declared="later", only_new=True, at=7))
    assert found(feed) == first
    # Another Configure replaces all, as ever
    feed(Configure("q", max_length=1, at=8))
    assert found(feed) == Configure("q", max_length=1, at=8)


def test_a_queue_without_options_gets_them() -> None:
    feed = deliver()
    feed(delivered(0, "q"), delivered(1, "q"))
    feed(Configure("q", max_length=1, declared="d", only_new=True, at=7))
    # The same row and the same effect as without `only_new`
    assert found(feed) == Configure("q", max_length=1, declared="d", at=7)
    state = views.options(feed.rows, "q")
    assert state is not None
    assert state.length == 1


@pytest.mark.parametrize("first", [Lease("q", "c"), Configure("q", at=3)])
def test_a_row_with_defaults_alone_is_no_declaration(first: Lease | Configure) -> None:
    feed = deliver()
    feed(first)
    feed(Configure("q", declared="d", only_new=True, at=7))
    assert found(feed) == Configure("q", declared="d", at=7)


def test_after_a_delete_the_queue_is_new() -> None:
    feed = deliver()
    feed(Configure("q", declared="first"), Delete("q"))
    feed(Configure("q", declared="second", only_new=True))
    assert found(feed) == Configure("q", declared="second")


def test_a_declaration_without_effect_is_use_of_the_queue() -> None:
    feed = deliver()
    feed(Configure("q", ttl_ms=9000), at=1000)
    feed(Configure("q", only_new=True), at=5000)
    state = views.options(feed.rows, "q")
    assert state is not None
    assert state.used == 5000
