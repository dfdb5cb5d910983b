"""Dead letters that go to groups, with all of their deaths."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import Feed, deliver
from test_deliver import inbox, seqs
from test_time import delivered

from streams.events.records import Configure, Event, Message, Nack, Tick
from streams.folds.deaths import DEATHS, MOST, Death, after_death, deaths, goes_round, packed
from streams.folds.deliver import Deliver


def queue(**options: Any) -> Feed[Deliver]:
    feed = deliver()
    feed(Configure("q", **options))
    return feed


def letter(outputs: list[Event]) -> Message:
    (found,) = outputs
    assert isinstance(found, Message)
    return found


def rejected(feed: Feed[Deliver], at: int = 1000) -> list[Event]:
    return feed(Nack("q", tuple(seqs(feed)), "reject"), at=at)


def envelope(key: bytes) -> str:
    return base64.b64encode(b"\x01\x01E" + bytes((len(key),)) + key + b"\0\0").decode()


def test_a_message_that_dies_goes_to_the_group() -> None:
    feed = queue(dead_letter_group="room")
    feed(delivered(0, "q"))
    found = letter(rejected(feed, at=2000))
    assert (found.group, found.id) == ("room", "m0")
    assert deaths(found.headers) == [Death("q", "rejected", "g", 1, 2000)]
    assert found.headers["dead-letter-reason"] == "rejected"
    assert inbox(feed) == []


@pytest.mark.parametrize(
    "wrong",
    [
        *({"times": value} for value in ("1", None, 1.5, True, -1, 2**63)),
        *({"at": value} for value in ("1", None, -1, 2**63)),
        *({name: value} for name in ("queue", "reason", "group") for value in (1, None, ["x"])),
        {"more": 1},
    ],
    ids=str,
)
def test_deaths_that_a_client_made_up_are_none(wrong: dict[str, Any]) -> None:
    # Given a message with a header that no fold writes
    sound: dict[str, Any] = {"queue": "q", "reason": "rejected", "group": "g", "times": 3, "at": 5}
    assert deaths({DEATHS: orjson.dumps([sound]).decode()}) == [Death(**sound)]
    header = orjson.dumps([sound | wrong]).decode()
    feed = queue(dead_letter_group="room")
    feed(delivered(0, "q", headers={DEATHS: header}))
    # When it dies, then it has died once
    found = letter(rejected(feed, at=2000))
    assert deaths(found.headers) == [Death("q", "rejected", "g", 1, 2000)]


def test_the_number_of_deaths_stays_a_number() -> None:
    most = Death("q", "rejected", "g", 1 << 53, 5)
    (found,) = after_death([most], Death("q", "rejected", "g", 1, 9))
    assert deaths({DEATHS: packed([found])}) == [most]


@pytest.mark.parametrize(
    ("headers", "group"),
    [
        ({}, "dead/g"),
        ({"amqp": envelope(b"a.key")}, "dead/a.key"),
        ({"amqp": envelope("ключ".encode())}, "dead/ключ"),
        ({"amqp": envelope(b"")}, "dead/"),
        ({"amqp": "none of AMQP"}, "dead/g"),
        ({"amqp": base64.b64encode(b"\x01\xffE").decode()}, "dead/g"),
        ({"amqp": base64.b64encode(b"\x02\x01E\x01k").decode()}, "dead/g"),
    ],
)
def test_its_routing_key_chooses_the_group(headers: dict[str, str], group: str) -> None:
    feed = queue(dead_letter_group="dead/", dead_letter_keyed=True)
    feed(delivered(0, "q", headers=headers))
    assert letter(rejected(feed)).group == group


def test_a_key_that_makes_no_group_leads_nowhere() -> None:
    feed = queue(dead_letter_group="dead/", dead_letter_keyed=True)
    feed(delivered(0, "q", headers={"amqp": envelope(b"k" * 255)}))
    assert rejected(feed) == []
    assert inbox(feed) == []


def test_the_queue_of_dead_letters_comes_first() -> None:
    feed = queue(dead_letter="d", dead_letter_group="room")
    feed(delivered(0, "q"))
    assert letter(rejected(feed)).group == "@d"


def test_a_message_may_be_rejected_again_and_again() -> None:
    feed = queue(dead_letter_group="retry")
    headers: dict[str, str] = {}
    for number in range(3):
        feed(delivered(number, "q", headers=headers))
        headers = dict(letter(rejected(feed, at=1000 + number)).headers)
        waiting = Death("retry", "expired", "retry", 1, 5)
        headers[DEATHS] = packed(after_death(deaths(headers), waiting))
    found = deaths(headers)
    assert found[0] == Death("retry", "expired", "retry", 3, 5)
    assert found[1] == Death("q", "rejected", "g", 3, 1000)
    assert headers["dead-letter-count"] == "3"


def test_a_message_that_only_expires_ends_in_the_second_round() -> None:
    feed = queue(dead_letter_group="@other", message_ttl_ms=100)
    been = packed([Death("other", "expired", "@other", 1, 1), Death("q", "expired", "@q", 1, 1)])
    feed(delivered(0, "q", headers={DEATHS: been}), delivered(1, "q"), at=1000)
    assert letter(feed(Tick(), at=1100)).id == "m1"
    assert inbox(feed) == []


def test_what_goes_round_by_itself() -> None:
    b, q = Death("b", "expired", "@b", 1, 1), Death("q", "tries", "@q", 1, 1)
    no = Death("b", "rejected", "@b", 1, 1)
    assert goes_round([b, q], "q", "expired")
    assert not goes_round([b, q], "q", "rejected")
    assert not goes_round([no, q], "q", "expired")
    assert not goes_round([b, q], "c", "expired")
    assert not goes_round([], "q", "expired")


def test_deaths_are_bounded_and_others_headers_are_not_taken_for_them() -> None:
    found: list[Death] = []
    for number in range(MOST + 5):
        found = after_death(found, Death(f"q{number}", "expired", "g", 1, number))
    assert len(found) == MOST
    assert found[0].queue == f"q{MOST + 4}"
    assert deaths({DEATHS: packed(found)}) == found
    for forged in ("", "[", "3", "[1]", '[{"queue":"q"}]', "null"):
        assert deaths({DEATHS: forged}) == []
