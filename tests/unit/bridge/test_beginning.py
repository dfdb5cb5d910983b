"""Where a bridge begins."""

from __future__ import annotations

import logging

import pytest

from streams.bridge.beginning import NOW, START, Bounds, NoPlace, beginnings

BOUNDS = {0: Bounds(10, 20), 1: Bounds(0, 5)}


@pytest.mark.parametrize("chosen", [None, START, NOW])
@pytest.mark.parametrize("place", [10, 15, 20])
def test_it_goes_on_at_the_kept_place(place: int, chosen: str | None) -> None:
    assert beginnings("east", {0: place, 1: 3}, BOUNDS, chosen) == {0: place, 1: 3}


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        ({}, "partition 0 of site east has no kept place"),
        ({0: 15}, "partition 1 of site east has no kept place"),
        ({0: 4, 1: 3}, "no longer has the records from offset 4 to 9"),
        ({0: 21, 1: 3}, "ends at offset 20, before the kept place 21"),
    ],
)
def test_a_person_decides_where_no_place_is_right(kept: dict[int, int], reason: str) -> None:
    with pytest.raises(NoPlace, match=reason):
        beginnings("east", kept, BOUNDS, None)

    start = beginnings("east", kept, BOUNDS, START)
    now = beginnings("east", kept, BOUNDS, NOW)

    whole = [number for number in kept if BOUNDS[number].low <= kept[number] <= BOUNDS[number].high]
    for number, (low, high) in BOUNDS.items():
        good = number in whole
        assert start[number] == (kept[number] if good else low)
        assert now[number] == (kept[number] if good else high)


def test_the_log_says_what_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "streams.bridge"):
        beginnings("east", {0: 4, 1: 3}, BOUNDS, START)

    (line,) = caplog.messages
    assert "from offset 4 to 9" in line
    assert "going on at offset 10" in line
