"""Draws figures as PNG plots."""

from __future__ import annotations

import re
from pathlib import Path

from streams.lab.bench.figures import Figure
from streams.lab.bench.report import BenchResult


def draw_lines(outcome: BenchResult, folder: Path) -> list[Path]:
    """Draw one file for each unit of the figures that belong to a line."""
    by_unit: dict[str, dict[str, list[Figure]]] = {}
    for figure in outcome.figures:
        if figure.x is not None:
            by_unit.setdefault(figure.unit, {}).setdefault(figure.line, []).append(figure)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _draw(outcome, unit, lines, folder / f"{outcome.name}-{_slug(unit)}.png")
        for unit, lines in by_unit.items()
    ]


def _draw(outcome: BenchResult, unit: str, lines: dict[str, list[Figure]], path: Path) -> Path:
    from matplotlib.figure import Figure as Drawing
    from matplotlib.ticker import StrMethodFormatter

    drawing = Drawing(figsize=(7, 4.2), layout="constrained")
    axes = drawing.add_subplot()
    for name, figures in lines.items():
        ordered = sorted(figures, key=lambda figure: figure.x or 0.0)
        medians = [figure.median for figure in ordered]
        below = [figure.median - figure.low for figure in ordered]
        above = [figure.high - figure.median for figure in ordered]
        places = [figure.x or 0.0 for figure in ordered]
        axes.errorbar(places, medians, yerr=[below, above], marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylabel("per second" if unit == "/s" else unit)
    axes.set_xlabel(X_LABELS.get(outcome.name, ""))
    axes.set_title(outcome.name)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    drawing.savefig(path, dpi=144)
    return path


X_LABELS = {"scale": "queues", "matrix": "bytes of a body", "hotgroup": "members of the group"}


def _slug(unit: str) -> str:
    return re.sub(r"[^a-z]+", "-", unit.lower().replace("/s", "per-second")).strip("-")
