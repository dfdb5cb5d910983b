"""What may be said on a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.errors import TooLarge, Unavailable
from streams.gateway.http.errors import HTTPError, busy
from streams.gateway.streaming import frames
from streams.gateway.streaming.frames import Frame, Subscribe


def test_a_frame_is_a_type_a_ref_and_fields() -> None:
    (content,) = frames.read_all('{"type":"ack","ref":7,"queue":"q","upto":1}')
    assert frames.read(content) == Frame("ack", 7, {"queue": "q", "upto": 1})
    assert frames.read({"type": "ping"}).ref is None


def test_many_frames_come_in_an_array() -> None:
    found = frames.read_all('[{"type":"ping"},{"type":"ping","ref":1},7]')
    assert [frames.read(content).ref for content in found[:2]] == [None, 1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "[[]]",
        "[7]",
        '"x"',
        "{}",
        '{"type":1}',
        '{"type":"x","ref":true}',
        '{"type":"x","ref":{}}',
        '{"type":"x","ref":"' + "r" * 256 + '"}',
    ],
)
def test_what_is_no_frame_is_refused(text: str) -> None:
    with pytest.raises(HTTPError) as refused:
        list(map(frames.read, frames.read_all(text)))
    assert refused.value.status == 400


def test_a_subscribe_begins_at_the_beginning_without_a_limit() -> None:
    assert frames.subscribe({"queue": "q"}) == Subscribe("q", 0, None, -1)
    assert frames.subscribe({"queue": "q", "after": None, "credit": None}).credit is None
    assert frames.subscribe({"queue": "q", "after": 7, "credit": 0, "read_after": 3}) == (
        Subscribe("q", 7, 0, 3)
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"queue": 1},
        {"queue": "q", "after": "1"},
        {"queue": "q", "after": -1},
        {"queue": "q", "credit": frames.MAX_CREDIT + 1},
        {"queue": "q", "credit": 1.5},
        {"queue": "q", "what": 1},
    ],
)
def test_a_wrong_subscribe_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(HTTPError):
        frames.subscribe(dict(fields))


def test_credit_is_bounded() -> None:
    assert frames.credit({"queue": "q", "more": 5}) == ("q", 5)
    for fields in ({"queue": "q"}, {"queue": "q", "more": -1}, {"queue": "q", "more": 10**7}):
        with pytest.raises(HTTPError):
            frames.credit(fields)


def test_an_ack_is_cumulative_or_of_single_seqs() -> None:
    assert frames.ack({"queue": "q", "upto": 0}) == ("q", 0, ())
    assert frames.ack({"queue": "q", "seqs": [1, 2]}) == ("q", None, (1, 2))
    too_many = list(range(frames.MAX_SEQS + 1))
    wrong: list[dict[str, Any]] = [{}, {"upto": 1, "seqs": [2]}, {"seqs": []}, {"seqs": too_many}]
    for fields in wrong:
        with pytest.raises(HTTPError):
            frames.ack({"queue": "q", **fields})


def test_errors_say_when_to_come_again() -> None:
    def told(error: Any, **fields: Any) -> Any:
        return json.loads(frames.error_frame(error, "r", **fields))

    assert told(Unavailable("away", retry_after=2.5), queue="q") == {
        "type": "error",
        "ref": "r",
        "code": "unavailable",
        "message": "away",
        "retry_after": 2.5,
        "queue": "q",
    }
    assert told(busy("full", 3))["retry_after"] == 3.0
    assert "retry_after" not in told(TooLarge("big"))


def test_a_frame_may_have_fields_of_any_name() -> None:
    text = frames.frame("message", None, kind="text", ref="a message's own")
    assert json.loads(text) == {"type": "message", "kind": "text", "ref": "a message's own"}
