"""Figures of a run: percentiles and rates."""

from __future__ import annotations

import pytest

from streams.lab.demo.figures import Figures, Rates, milliseconds, percentile


@pytest.mark.parametrize(
    ("values", "share", "result"),
    [([], 0.5, None), ([3.0], 0.99, 3.0), ([3.0, 1.0, 2.0], 0.5, 2.0), (range(100), 0.99, 99)],
)
def test_percentiles(values: list[float], share: float, result: float | None) -> None:
    assert percentile(values, share) == result


def test_rates_are_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given figures that grow by 10 changes a second, then by 100
    now = 0.0
    monkeypatch.setattr("streams.lab.demo.figures.time.monotonic", lambda: now)
    figures = Figures()
    rates = Rates(figures)
    for second in range(1, 21):
        now = float(second)
        figures.changes += 10 if second <= 10 else 100
        rates.update()
    # Then the first ten seconds are forgotten
    assert dict(rates.rows())["churn/s"] == "100"


def test_milliseconds() -> None:
    assert milliseconds(None) == "-"
    assert milliseconds(1.2344) == "1,234 ms"


def test_the_lag_is_unknown_while_a_partition_has_no_answer() -> None:
    figures = Figures()
    figures.note_lag([3, 4], 2)
    assert dict(Rates(figures).rows())["lag"] == "7 records"
    figures.note_lag([], 2)  # the worker is suspended
    assert dict(Rates(figures).rows())["lag"] == "unknown (2 partitions have no answer)"
    figures.note_lag([1, 1], 2)
    assert figures.lag == 2
    assert figures.worst_lag == 7
