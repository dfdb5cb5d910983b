"""What people and machines get to see of a bench."""

from __future__ import annotations

import pytest

from streams.lab.bench.figures import Figure
from streams.lab.bench.report import BenchResult, as_json, as_text, number


@pytest.fixture
def outcome() -> BenchResult:
    return BenchResult(
        name="churn",
        what="From here to there.",
        runs=3,
        seconds=12.34,
        figures=[
            Figure("binds", "/s", (40_000, 38_000, 41_000)),
            Figure("cost", "µs", (20.123456,)),
            Figure("worker CPU", "% of a core", (90,)),
        ],
        baseline=[Figure("binds", "/s", (1_000,)), Figure("worker CPU", "% of a core", (99,))],
    )


def test_text_has_median_spread_baseline_and_ratio(outcome: BenchResult) -> None:
    title, what, _, binds, cost, cpu = as_text(outcome).splitlines()
    assert (title, what) == ("churn", "From here to there.")
    assert binds.split() == ["binds", "40,000", "/s", "38,000", "..", "41,000", "1,000", "40x"]
    assert cost.split() == ["cost", "20.1", "µs"]
    assert cpu.split() == ["worker", "CPU", "90", "%", "of", "a", "core", "99"]  # no ratio


def test_columns_stand_below_each_other(outcome: BenchResult) -> None:
    lines = as_text(outcome).splitlines()
    column = lines[2].index("stock Faust") + len("stock Faust")
    assert lines[3][column - 1] == "0"
    assert lines[5][column - 1] == "9"


def test_json_has_every_run_and_the_ratio(outcome: BenchResult) -> None:
    content = as_json(outcome)
    assert (content["bench"], content["measures"], content["runs"]) == (
        "churn",
        "From here to there.",
        3,
    )
    assert content["figures"][0] == {
        "name": "binds",
        "unit": "/s",
        "median": 40_000,
        "min": 38_000,
        "max": 41_000,
        "runs": [40_000, 38_000, 41_000],
        "times_better": 40,
    }
    assert content["figures"][1]["median"] == 20.123
    assert "times_better" not in content["figures"][1]
    assert content["baseline"][0]["median"] == 1_000


def test_a_point_on_a_line_says_where_it_is() -> None:
    figure = Figure("churn at 10,000 queues", "/s", (5,), line="churn", x=10_000)
    content = as_json(BenchResult("scale", "", 1, 1, [figure], []))
    assert (content["figures"][0]["line"], content["figures"][0]["x"]) == ("churn", 10_000)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.012345, "0.0123"), (5.678, "5.68"), (99.96, "100"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits_or_more(value: float, text: str) -> None:
    assert number(value) == text
