"""`streams faults`: injects faults under load, and checks that nothing is lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import click
import orjson

from streams.cli.base import StreamsCommand, option
from streams.settings import Settings

FOLDER = "faults"
"""Folder of a run under STREAMS_DATA; emptied before each run."""


class faults(StreamsCommand):
    """Kill, stop and starve brokers and workers under load; check that nothing is lost.

    Starts its own brokers and workers.  Prints one line per fault; exit code 0 only if every
    invariant held.  Logs, and the table as JSON, stay under STREAMS_DATA.
    """

    options = (
        option("--only", "names", multiple=True, help="Run only this fault; may be repeated."),
        option("--short", is_flag=True, help="Run only a few of the most telling faults."),
        option(
            "--seed",
            type=int,
            help="Seed of the load and of the random mix; default: random, and printed.",
        ),
        option(
            "--minutes",
            type=click.FloatRange(min=0),
            default=0.0,
            help="How long to mix random faults at the end.",
        ),
        option(
            "--times",
            type=click.FloatRange(min=0, min_open=True),
            default=1.0,
            help="The load, in multiples of the usual one.",
        ),
        option(
            "--secure",
            is_flag=True,
            help="Run with TLS to Kafka, HTTPS and tokens. Three brokers stay without TLS.",
        ),
        option("--list", "listing", is_flag=True, help="List all faults and exit."),
    )

    def execute_now(
        self,
        names: tuple[str, ...],
        short: bool,
        seed: int | None,
        minutes: float,
        times: float,
        secure: bool,
        listing: bool,
        **_: Any,
    ) -> int:
        """Choose faults, run them, and print the results."""
        from streams.lab.faults.choosing import choose
        from streams.lab.faults.mixing import mix
        from streams.lab.faults.suite import FaultResult, run_all
        from streams.lab.faults.table import HEAD, details, line, summary

        chosen = choose(names, short=short)
        if listing:
            for fault in chosen:
                click.echo(f"{fault.name:<20} {fault.what}")
            return 0
        seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
        if minutes:
            chosen.append(mix(minutes, seed))
        folder = Path(Settings.from_env().data) / FOLDER
        click.echo(f"seed {seed}, logs in {folder}")
        click.echo(HEAD)

        def show(result: FaultResult) -> None:
            click.echo(line(result))
            for text in details(result):
                click.echo(f"    {text}")

        results = asyncio.run(run_all(folder, seed, chosen, show, times=times, secure=secure))
        table = {
            "seed": seed,
            "times": times,
            "secure": secure,
            "faults": [result.as_json() for result in results],
        }
        (folder / "table.json").write_bytes(orjson.dumps(table, option=orjson.OPT_INDENT_2))
        click.echo("\n" + HEAD)
        for result in results:
            click.echo(line(result))
        click.echo(summary(results, seed))
        return 0 if all(result.ok for result in results) else 1
