"""Turns measurements into figures: medians with their range, percentiles and ratios.

Pure: knows neither what was measured nor how it is displayed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PERCENTILES = (50.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement of one run.

    `line` and `x` place it on a plot: a point at `x` on the line of that name.
    """

    name: str
    value: float
    unit: str
    line: str = ""
    x: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """The same measurement over all runs."""

    name: str
    unit: str
    values: tuple[float, ...]
    line: str = ""
    x: float | None = None

    @property
    def median(self) -> float:
        """The median of the runs."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The minimum of the runs."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The maximum of the runs."""
        return max(self.values)

    @property
    def more_is_better(self) -> bool:
        """Whether the figure is a rate; for times, bytes and shares, less is better."""
        return self.unit.endswith("/s")


def collect(runs: Iterable[Sequence[Measurement]]) -> list[Figure]:
    """Join the measurements of several runs by name, in order of first occurrence.

    Raises:
        ValueError: two measurements of one name differ in unit, line or x.
    """
    found: dict[str, list[Measurement]] = {}
    for samples in runs:
        for sample in samples:
            found.setdefault(sample.name, []).append(sample)
    figures = []
    for name, samples in found.items():
        first = samples[0]
        if any((s.unit, s.line, s.x) != (first.unit, first.line, first.x) for s in samples):
            raise ValueError(f"samples of {name!r} are not of one kind")
        values = tuple(sample.value for sample in samples)
        figures.append(Figure(name, first.unit, values, first.line, first.x))
    return figures


def times_better(ours: Figure, other: Figure) -> float | None:
    """Return how many times better our median is than the other; None if either is zero."""
    above, below = ours.median, other.median
    if not ours.more_is_better:
        above, below = below, above
    return above / below if above > 0 and below > 0 else None


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the `ordered` values do not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def latencies(name: str, seconds: Iterable[float]) -> list[Measurement]:
    """Return the percentiles of latencies in milliseconds that the number of values allows.

    A percentile is given only if at least one of the values lies beyond it.
    """
    ordered = sorted(seconds)
    return [
        Measurement(f"{name} p{percent:g}", percentile(ordered, percent) * 1000, "ms")
        for percent in PERCENTILES
        if round(len(ordered) * (100 - percent) / 100, 6) >= 1
        or (ordered and percent == PERCENTILES[0])
    ]
