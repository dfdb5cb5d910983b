"""`streams demo`: plays the measured workload through the running system."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click
import orjson
from faust.cli.base import option

from streams.cli.base import StreamsCommand
from streams.operate.progress import say
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.lab.demo.playing import Outcome

PLAN_OPTIONS = (
    option(
        "--seconds",
        type=click.FloatRange(min=0),
        default=60.0,
        help="How long to play; 0 until Ctrl-C.",
    ),
    option(
        "--scale",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        help="How many times the measured world.",
    ),
)


class demo(StreamsCommand):
    """Play the measured workload through the running system, and check every inbox.

    Loads residents and groups, lets them join, leave and talk, and holds both tables and
    what online residents read against an independent model.  Exit code 0 only if nothing was
    lost, duplicated, out of order, or where it does not belong.
    """

    options = (
        *PLAN_OPTIONS,
        option(
            "--url",
            "urls",
            multiple=True,
            show_default=False,
            help="A worker to begin with, as in http://host:6066; by default that of the settings.",
        ),
    )

    def execute_now(self, seconds: float, scale: float, urls: tuple[str, ...], **_: Any) -> int:
        """Play, print the summary, and return the exit code."""
        from streams.lab.demo.playing import Plan, play

        settings = Settings.from_env()
        known = [url.rstrip("/") for url in urls] or [settings.advertised_url]
        outcome = asyncio.run(play(settings, known, Plan(seconds, scale)))
        show(outcome, as_json=self.json)
        return 0 if outcome.ok else 1


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print the summary of a run, and what was wrong."""
    rows = summary(outcome)
    if as_json:
        click.echo(orjson.dumps(dict(rows)).decode())
    elif sys.stdout.isatty():
        from rich.console import Console

        from streams.lab.demo.figures import table

        Console(highlight=False).print(table("What came of it", rows))
    else:
        for name, value in rows:
            click.echo(f"{name:<28} {value:>16}")
    report = outcome.report
    for text in (*report.verdict.examples, *report.examples, *outcome.contradictions[:20]):
        say(text)


def summary(outcome: Outcome) -> list[tuple[str, str]]:
    """Return the summary as names and values."""
    from streams.lab.demo.figures import milliseconds

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
