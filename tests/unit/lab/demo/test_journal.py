"""Confirmations against the log: each must be there, as it was confirmed."""

from __future__ import annotations

import pytest

from streams.events.codec import encode
from streams.events.records import Bind, Message, Unbind
from streams.fold import Record
from streams.lab.demo.journal import Journal, digest
from streams.lab.workload.model import Model
from streams.settings import Settings

BOUND = Bind("t-g", "t-q")


@pytest.fixture
def journal() -> Journal:
    return Journal(Settings.from_env({}), Model(), "t-")


def record(offset: int, event: Bind | Unbind | Message) -> Record:
    return Record(0, offset, 0, event.group.encode(), encode(event))


@pytest.mark.parametrize("first", ["log", "confirmation"])
def test_what_is_confirmed_and_in_the_log_is_well(journal: Journal, first: str) -> None:
    # Given an event in the log and its confirmation, whichever comes first
    if first == "log":
        journal.take(record(5, BOUND))
        journal.confirmed(0, 5, digest(BOUND))
    else:
        journal.confirmed(0, 5, digest(BOUND))
        journal.take(record(5, BOUND))
    # Then there is nothing to say
    assert journal.contradictions() == []


def test_a_confirmation_without_a_record(journal: Journal) -> None:
    # Given a confirmation of what the log does not have
    journal.confirmed(0, 5, digest(BOUND))
    (text,) = journal.contradictions()
    assert "not in the log" in text


def test_a_confirmation_with_another_record(journal: Journal) -> None:
    # Given a confirmation of something else than stands there
    journal.take(record(5, BOUND))
    journal.confirmed(0, 5, digest(Unbind("t-g", "t-q")))
    (text,) = journal.contradictions()
    assert "Bind" in text
    assert "Unbind" in text


def test_an_unanswered_attempt_that_landed_is_no_contradiction() -> None:
    # Given a message in the log that nobody got an answer for
    model = Model(lambda group: ["t-q"])
    journal = Journal(Settings.from_env({}), model, "t-")
    journal.take(record(1, Message("m", "t-g", "s")))
    # Then the model has it, and the books are in order
    assert model.received == {"t-q": [("t-g", "m")]}
    assert journal.contradictions() == []


def test_what_others_write_is_nobodys_business(journal: Journal) -> None:
    # Given events of other ids, and a record that is none
    journal.take(record(1, Bind("other-g", "other-q")))
    journal.take(Record(0, 2, 0, b"t-g", b"broken"))
    journal.take(Record(0, 3, 0, b"t-g", None))
    # Then they change nothing, but the position moves on
    assert journal.contradictions() == []
    journal.reach({0: 4})
