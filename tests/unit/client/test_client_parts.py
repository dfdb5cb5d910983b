"""The client's pure parts: drafts, deliveries, backoff, pending acks."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from streams.client import Client, Draft, Refused, Unavailable
from streams.client.client import _Held
from streams.client.messages import delivery
from streams.client.pending_acks import PendingAcks
from streams.client.requests import LONGEST_PAUSE_SECONDS, Backoff, as_json, path, refused


class Nobody:
    async def acknowledge(self, delivery: Any, *, cumulative: bool) -> None:
        raise NotImplementedError


def test_a_draft_has_an_id_and_one_destination() -> None:
    first, second = Draft("x", group="g"), Draft("x", group="g")
    assert first.id != second.id
    assert first.fields() == {"id": first.id, "body": "x"}
    with pytest.raises(ValueError, match="either a group or a queue"):
        Draft("x")
    with pytest.raises(ValueError, match="either a group or a queue"):
        Draft("x", group="g", queue="q")


def test_a_draft_has_the_json_fields() -> None:
    draft = Draft(
        b"\0",
        queue="q",
        sender="me",
        kind="vote",
        headers={"a": "b"},
        id="i",
        expires_at=datetime.fromtimestamp(1_900_000_000.5, UTC),
        persistent=False,
    )
    assert draft.fields() == {
        "id": "i",
        "body_base64": "AA==",
        "sender": "me",
        "kind": "vote",
        "headers": {"a": "b"},
        "expires_at": 1_900_000_000_500,
        "persistent": False,
    }


def test_a_delivery_keeps_unknown_fields() -> None:
    content = {"seq": 5, "id": "i", "group": "g", "sender": "", "kind": "text", "headers": {}}
    one = delivery("q", {**content, "body": "hé", "at": 1, "redelivered": 2}, Nobody())
    assert (one.queue, one.seq, one.text, one.body) == ("q", 5, "hé", "hé".encode())
    assert one.fields["redelivered"] == 2
    raw = delivery("q", {**content, "body_base64": "/w==", "at": 1}, Nobody())
    assert raw.body == b"\xff"
    with pytest.raises(UnicodeDecodeError):
        _ = raw.text


def test_backoff_grows_up_to_a_limit_and_restarts() -> None:
    backoff = Backoff()
    found = [backoff.next() for _ in range(40)]
    assert found[0] <= 0.1
    assert all(pause <= LONGEST_PAUSE_SECONDS for pause in found)
    assert all(pause >= LONGEST_PAUSE_SECONDS / 2 for pause in found[10:])
    backoff.reset()
    assert backoff.next() <= 0.1
    assert backoff.next(at_least=3) == 3


def test_a_path_can_hold_any_id() -> None:
    assert path("v1", "groups", "a/b?ж") == "/v1/groups/a%2Fb%3F%D0%B6"


def test_errors_carry_code_and_status() -> None:
    error = refused(400, b'{"error":{"code":"bad_id","message":"no"}}')
    assert (error.code, str(error), error.status) == ("bad_id", "no", 400)
    assert refused(502, b"<html>").code == "unknown"


async def test_a_cumulative_confirmation_covers_everything_below() -> None:
    pending = PendingAcks()
    low, high = pending.begin(3, cumulative=False), pending.begin(9, cumulative=False)
    upto = pending.begin(5, cumulative=True)
    assert pending.begin(3, cumulative=False) is low
    pending.confirm(5, ())
    assert low.done()
    assert upto.done()
    assert not high.done()
    pending.confirm(None, [9, 10])
    assert high.done()
    assert not pending


async def test_a_permanent_failure_reaches_whoever_awaits_the_ack() -> None:
    pending = PendingAcks()
    future, other = pending.begin(3, cumulative=False), pending.begin(4, cumulative=True)
    pending.fail(4, [3, 77], Refused("forbidden", "no"))
    for one in (future, other):
        with pytest.raises(Refused):
            await one
    assert not pending.futures()


async def test_a_subscription_needs_a_prefetch_and_ends_with_its_client() -> None:
    async with Client("http://127.0.0.1:9", retry_seconds=0.2) as client:
        with pytest.raises(ValueError, match="prefetch"):
            client.subscribe("q", prefetch=0)
        deliveries = client.subscribe("q", "q", "p")
        assert deliveries.queues == ["q", "p"]
        waiting = asyncio.create_task(anext(deliveries, None))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await client.queue("q")
    assert await asyncio.wait_for(waiting, 120) is None


@pytest.mark.parametrize("wrong", [1_900_000_000, 1_900_000_000_000_000, -1])
def test_a_draft_refuses_a_time_that_is_not_in_milliseconds(wrong: int) -> None:
    with pytest.raises(ValueError, match="milliseconds since 1970"):
        Draft("x", group="g", expires_at=wrong).fields()


def test_a_draft_states_only_what_differs_from_the_defaults() -> None:
    draft = Draft(
        "x", group="g", id="i", expires_at=1_900_000_000_000, echo=False, receipt=True, priority=0
    )
    assert draft.fields() == {
        "id": "i",
        "body": "x",
        "expires_at": 1_900_000_000_000,
        "echo": False,
        "receipt": True,
        "priority": 0,
    }


async def test_a_message_gets_an_id_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client("http://127.0.0.1:1")
    sent: list[dict[str, Any]] = []

    async def ask(method: str, where: str, body: bytes) -> None:
        sent.extend(map(json.loads, body.splitlines()))

    monkeypatch.setattr(client.requests, "ask", ask)
    events = [
        {"type": "message", "group": "g", "body": "1"},
        {"type": "message", "group": "g", "body": "2", "id": "mine"},
        {"type": "bind", "group": "g", "queue": "q"},
    ]
    assert await client.send_events(events) == 3
    assert len(sent[0].pop("id")) > 20
    assert sent == [{"type": "message", "group": "g", "body": "1"}, *events[1:]]


def test_an_id_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(Refused, match="not valid UTF-8"):
        path("v1", "queues", "\udcff")


def test_a_text_that_is_not_utf8_is_refused() -> None:
    assert (
        as_json({"body": "Grüße \N{GRINNING FACE}"})
        == '{"body": "Grüße \N{GRINNING FACE}"}'.encode()
    )
    with pytest.raises(Refused, match="is not valid UTF-8"):
        as_json({"headers": {"a": "b\udcff"}})


def test_each_transaction_that_holds_a_history_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[int] = []
    held = _Held("lobby", told.append)
    for offset in (None, 7, 7, None, 7, 9):
        held.note({"held": offset})
    held.note({})  # from a worker of an earlier version
    assert told == [7, 7, 9]

    _Held("lobby", None).note({"held": 3})
    assert "group lobby ends for now at offset 3" in caplog.text
