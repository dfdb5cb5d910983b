"""What a dead letter says of the record that could not be folded."""

from __future__ import annotations

from streams.engine.dead_letters import KEY_BYTES, VALUE_BYTES, dead_letter
from streams.fold import Record


def test_it_tells_where_the_record_was_and_why_it_could_not_be_folded() -> None:
    key, value, headers = dead_letter("events", Record(3, 7, 1_000, b"k", b"v"), "no such thing")
    assert (key, value) == (b"k", b"v")
    assert dict(headers) == {
        "type": b"DeadLetter",
        "reason": b"no such thing",
        "topic": b"events",
        "partition": b"3",
        "offset": b"7",
        "timestamp": b"1000",
    }


def test_what_is_too_large_is_cut_and_its_size_told() -> None:
    record = Record(3, 7, 1_000, bytes(KEY_BYTES + 1), bytes(VALUE_BYTES + 2))
    key, value, headers = dead_letter("events", record, "r" * 5_000)
    assert (key, value) == (bytes(KEY_BYTES), bytes(VALUE_BYTES))
    told = dict(headers)
    assert told["key-truncated"] == str(KEY_BYTES + 1).encode()
    assert told["truncated"] == str(VALUE_BYTES + 2).encode()
    assert told["reason"] == b"r" * 1024


def test_a_record_may_have_neither_key_nor_value() -> None:
    key, value, _ = dead_letter("events", Record(3, 7, 1_000, None, None), "empty")
    assert (key, value) == (None, None)
