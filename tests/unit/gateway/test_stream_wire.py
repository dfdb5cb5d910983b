"""Frames on their way out: their bytes, and arrays of them."""

from __future__ import annotations

import json

import pytest

from streams.gateway.streaming.wire import ARRAY_BYTES, arrays, framed


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_is_framed_by_its_length(size: int, head: bytes) -> None:
    assert framed([b"x" * size]) == head + b"x" * size


def test_many_frames_are_one_piece_of_bytes() -> None:
    assert framed([b"one", b"two"]) == b"\x81\x03one\x81\x03two"


def test_arrays_hold_all_frames_in_order_and_are_not_long() -> None:
    frames = [json.dumps({"n": number, "body": "x" * 40_000}).encode() for number in range(20)]

    found = list(arrays(frames))

    assert [frame["n"] for array in found for frame in json.loads(array)] == list(range(20))
    assert len(found) > 1
    assert all(len(array) < ARRAY_BYTES + 50_000 for array in found)
    assert list(arrays([])) == []
