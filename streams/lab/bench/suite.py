"""All benches by name, and how they run: one harness each, several runs, figures over all runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from streams.lab.bench import (
    acks,
    ceiling,
    churn,
    fanout,
    hotgroup,
    latency,
    matrix,
    recovery,
    scale,
    storm,
)
from streams.lab.bench.figures import Measurement, collect
from streams.lab.bench.harness import PATIENT_SECONDS, BenchHarness, Options, harness
from streams.lab.bench.machine import describe_machine, describe_settings, describe_versions
from streams.lab.bench.report import BenchResult
from streams.operate.progress import say
from streams.settings import Settings

Measure = Callable[[BenchHarness], list[Measurement]]


@dataclass(frozen=True, slots=True)
class Bench:
    """One bench: what it measures, and how to run it."""

    what: str
    measure: Measure
    measure_stock: Measure | None = None
    """The same for the baseline, if it can be compared."""
    most_runs: int = 1000


BENCHES: Final[dict[str, Bench]] = {
    "churn": Bench(churn.WHAT, churn.measure, churn.measure_stock),
    "fanout": Bench(fanout.WHAT.format(body=fanout.BODY), fanout.measure, fanout.measure_stock),
    "latency": Bench(
        latency.WHAT.format(readers=latency.READERS, share=latency.STOCK_SHARE),
        latency.measure,
        latency.measure_stock,
    ),
    "scale": Bench(scale.WHAT, scale.measure, most_runs=1),
    "recovery": Bench(recovery.WHAT, recovery.measure, recovery.measure_stock),
    "storm": Bench(
        storm.WHAT.format(sessions=storm.SESSIONS, bindings=storm.BINDINGS, rate=storm.RATE),
        storm.measure,
    ),
    "hotgroup": Bench(
        hotgroup.WHAT.format(members=hotgroup.MEMBERS, rate=hotgroup.RATE), hotgroup.measure
    ),
    "acks": Bench(
        acks.WHAT.format(connections=acks.CONNECTIONS, sockets=acks.SOCKETS, window=acks.WINDOW),
        acks.measure,
    ),
    "matrix": Bench(
        matrix.WHAT.format(rate=matrix.RATE, large_rate=matrix.LARGE_RATE),
        matrix.measure,
        matrix.measure_stock,
    ),
    "ceiling": Bench(ceiling.WHAT, ceiling.measure),
}


def measure_baseline(harness: BenchHarness) -> list[Measurement]:
    """Measure only the baseline, on everything that it is compared with."""
    return [
        replace(sample, name=f"{name}: {sample.name}")
        for name, bench in BENCHES.items()
        if bench.measure_stock is not None
        for sample in bench.measure_stock(harness)
    ]


ALL: Final = tuple(BENCHES)
"""What `all` runs: each includes the baseline, which therefore is not run separately."""
BENCHES["baseline"] = Bench(
    "Stock Faust alone, on everything that the other benches compare with it; `all` skips this.",
    measure_baseline,
)


def run(name: str, settings: Settings, options: Options) -> BenchResult:
    """Run a bench; print a description and progress to stderr.

    Raises:
        StreamsError: a process could not be started, or the system made no progress.
    """
    bench = BENCHES[name]
    began = time.monotonic()
    runs = min(options.runs, bench.most_runs)
    ours, stock = [], []
    say(f"{name}: {bench.what}")
    with harness(settings, options) as running:
        for number in range(1, runs + 1):
            say(f"{name}: run {number} of {runs}")
            ours.append(bench.measure(running))
            if options.baseline and bench.measure_stock is not None:
                say(f"{name}: the baseline")
                stock.append(bench.measure_stock(running))
    seconds = time.monotonic() - began
    return BenchResult(name, bench.what, runs, seconds, collect(ours), collect(stock))


def conditions(settings: Settings, options: Options) -> dict[str, Any]:
    """Return the conditions of the figures: machine, versions, settings, options."""
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "settings": describe_settings(
            replace(settings, session_timeout_seconds=float(PATIENT_SECONDS))
        ),
        "options": asdict(options),
    }


def draw(outcome: BenchResult, folder: Path) -> list[Path]:
    """Draw the plots of a bench, if it has any; return the files."""
    from streams.lab.bench.plots import draw_lines

    return draw_lines(outcome, folder)
