"""Medians, spread, percentiles and ratios: what all published figures go through."""

from __future__ import annotations

import pytest

from streams.lab.bench.figures import (
    Figure,
    Measurement,
    collect,
    latencies,
    percentile,
    times_better,
)


def test_runs_are_joined_by_name_in_order() -> None:
    # Given two runs of two measurements
    first = [Measurement("rate", 10, "/s"), Measurement("wait", 5, "ms")]
    second = [Measurement("rate", 30, "/s"), Measurement("wait", 4, "ms")]
    # When they are joined
    rate, wait = collect([first, second])
    # Then each has the values of both
    assert (rate.name, rate.unit, rate.values) == ("rate", "/s", (10, 30))
    assert (wait.name, wait.unit, wait.values) == ("wait", "ms", (5, 4))


def test_what_only_some_runs_measured_is_kept() -> None:
    figures = collect(
        [[Measurement("a", 1, "s")], [Measurement("a", 2, "s"), Measurement("b", 3, "s")]]
    )
    assert [(figure.name, figure.values) for figure in figures] == [("a", (1, 2)), ("b", (3,))]


def test_samples_of_one_name_must_be_of_one_kind() -> None:
    with pytest.raises(ValueError, match="'a'"):
        collect([[Measurement("a", 1, "s")], [Measurement("a", 1, "ms")]])


def test_a_figure_is_its_median_with_its_spread() -> None:
    figure = Figure("rate", "/s", (30, 10, 20, 100))
    assert (figure.median, figure.low, figure.high) == (25, 10, 100)


@pytest.mark.parametrize(
    ("unit", "ours", "other", "ratio"),
    [("/s", 100, 20, 5), ("ms", 20, 100, 5), ("µs", 100, 20, 0.2), ("ms", 0, 5, None)],
)
def test_ratio_says_how_many_times_better(
    unit: str, ours: float, other: float, ratio: float | None
) -> None:
    found = times_better(Figure("a", unit, (ours,)), Figure("a", unit, (other,)))
    assert found == ratio


@pytest.mark.parametrize(
    ("percent", "value"), [(0.1, 1), (50, 50), (50.5, 51), (99, 99), (99.9, 100), (100, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile(list(range(1, 101)), percent) == value


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (0, []),
        (1, ["x p50"]),
        (99, ["x p50"]),
        (100, ["x p50", "x p99"]),
        (999, ["x p50", "x p99"]),
        (1000, ["x p50", "x p99", "x p99.9"]),
    ],
)
def test_only_percentiles_that_the_number_allows_are_given(count: int, names: list[str]) -> None:
    assert [sample.name for sample in latencies("x", [0.001] * count)] == names


def test_latencies_are_in_milliseconds_whatever_their_order() -> None:
    (median,) = latencies("x", [0.003, 0.001, 0.002])
    assert (median.value, median.unit) == (2, "ms")
