"""The summary of a demo run: figures, verdict, and examples of what was wrong."""

from __future__ import annotations

import sys

import orjson
from rich.console import Console

from streams.lab.demo.figures import milliseconds, table
from streams.lab.demo.playing import DemoResult
from streams.operate.progress import say


def show(outcome: DemoResult, *, as_json: bool) -> None:
    """Print the summary of a run, and what was wrong."""
    rows = summary(outcome)
    if as_json:
        print(orjson.dumps(dict(rows)).decode())
    elif sys.stdout.isatty():
        Console(highlight=False).print(table("Summary", rows))
    else:
        for name, value in rows:
            print(f"{name:<28} {value:>16}")
    report = outcome.report
    for text in (*report.verdict.examples, *report.examples, *outcome.contradictions[:20]):
        say(text)


def summary(outcome: DemoResult) -> list[tuple[str, str]]:
    """Return the summary as names and values."""
    figures, report, population = outcome.figures, outcome.report, outcome.population
    verdict = report.verdict
    seconds = max(outcome.play_seconds, 1e-9)
    load_rate = population.memberships / max(outcome.load_seconds, 1e-9)
    return [
        ("residents", f"{population.residents:,}"),
        ("groups", f"{population.groups:,}"),
        ("memberships", f"{population.memberships:,}"),
        ("workers", f"{outcome.workers}"),
        ("loaded in", f"{outcome.load_seconds:,.1f} s"),
        ("binds/s while loading", f"{load_rate:,.0f}"),
        ("played", f"{outcome.play_seconds:,.1f} s"),
        ("binds and unbinds", f"{figures.changes:,} ({figures.changes / seconds:,.0f}/s)"),
        ("messages", f"{figures.messages:,} ({figures.messages / seconds:,.1f}/s)"),
        ("deliveries", f"{verdict.expected:,} ({verdict.expected / seconds:,.0f}/s)"),
        ("read by online residents", f"{figures.read:,}"),
        ("latency p50", milliseconds(figures.percentile(0.50))),
        ("latency p99", milliseconds(figures.percentile(0.99))),
        ("largest lag", f"{figures.worst_lag:,} records"),
        ("worker CPU", f"{outcome.cpu_share:.0%} of a core"),
        ("fell behind schedule", f"{outcome.behind_seconds:,.1f} s"),
        ("bindings checked", f"{report.bindings:,}"),
        ("wrong bindings", f"{report.wrong_bindings:,}"),
        ("lost", f"{outcome.lost:,}"),
        ("duplicated", f"{verdict.duplicated:,}"),
        ("unexpected", f"{verdict.unexpected:,}"),
        ("out of order", f"{verdict.out_of_order:,}"),
        ("acked but there again", f"{report.returned:,}"),
        ("verdict", "ok" if outcome.ok else "NOT OK"),
    ]
