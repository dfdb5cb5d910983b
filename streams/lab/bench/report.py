"""What a bench found, as a table for people and as JSON for machines.  Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.lab.bench.figures import Figure, times_better

TIMES: Final = ("s", "ms", "µs")


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The figures of one bench, and those of the baseline."""

    name: str
    what: str
    runs: int
    seconds: float
    """Duration of the bench."""
    figures: list[Figure]
    baseline: list[Figure]

    def stock(self, figure: Figure) -> Figure | None:
        """Return the baseline's figure of the same name, or None."""
        return next((other for other in self.baseline if other.name == figure.name), None)

    def ratio(self, figure: Figure) -> float | None:
        """Return how many times better than the baseline a figure is, None if not comparable."""
        other = self.stock(figure)
        if other is None or not (figure.more_is_better or figure.unit in TIMES):
            return None
        return times_better(figure, other)


def as_json(outcome: BenchResult) -> dict[str, Any]:
    """Return an outcome as a JSON object."""
    return {
        "bench": outcome.name,
        "measures": outcome.what,
        "runs": outcome.runs,
        "seconds": round(outcome.seconds, 1),
        "figures": [
            _figure(figure)
            | ({} if (ratio := outcome.ratio(figure)) is None else {"times_better": _short(ratio)})
            for figure in outcome.figures
        ],
        "baseline": [_figure(figure) for figure in outcome.baseline],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": figure.name,
        "unit": figure.unit,
        "median": _short(figure.median),
        "min": _short(figure.low),
        "max": _short(figure.high),
        "runs": [_short(value) for value in figure.values],
    }
    if figure.x is not None:
        content |= {"line": figure.line, "x": figure.x}
    return content


def _short(value: float) -> float:
    """Round to five digits, more than any measurement here has."""
    return float(f"{value:.5g}")


def rows(outcome: BenchResult) -> list[tuple[str, str, str, str, str]]:
    """Return name, median, spread, the baseline's median, and the ratio of each figure."""
    found = []
    for figure in outcome.figures:
        stock, ratio = outcome.stock(figure), outcome.ratio(figure)
        several = len(figure.values) > 1
        found.append(
            (
                figure.name,
                f"{number(figure.median)} {figure.unit}",
                f"{number(figure.low)} .. {number(figure.high)}" if several else "",
                "" if stock is None else number(stock.median),
                "" if ratio is None else f"{number(ratio)}x",
            )
        )
    return found


HEADINGS = ("", "median", "min .. max", "stock Faust", "")


def as_text(outcome: BenchResult) -> str:
    """Return an outcome as a plain table under its title."""
    table = [HEADINGS, *rows(outcome)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
    lines = [_line(row, widths) for row in table]
    return "\n".join([outcome.name, outcome.what, *lines])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        text.ljust(width) if column == 0 else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(["  " + first, *others]).rstrip()


def number(value: float) -> str:
    """Return a number with three digits or more, thousands separated."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
