"""`streams faults`: faults on purpose, and what was lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import click
import orjson
from faust.cli.base import option

from streams.cli.base import StreamsCommand
from streams.settings import Settings

FOLDER = "faults"
"""Everything of a run, under STREAMS_DATA; emptied before each."""


class faults(StreamsCommand):
    """Kill, stop and starve brokers and workers under load, and check that nothing is lost.

    Starts brokers and workers of its own.  Prints one line a fault; exit code 0 only if every
    invariant held.  Logs stay under STREAMS_DATA, with the table as JSON.
    """

    options = (
        option("--only", "names", multiple=True, help="This fault alone; may be repeated."),
        option("--short", is_flag=True, help="A handful of the most telling faults."),
        option("--seed", type=int, help="Of the load and of the random mix; printed."),
        option(
            "--minutes",
            type=click.FloatRange(min=0),
            default=0.0,
            help="How long to mix faults at random, in the end.",
        ),
        option("--list", "listing", is_flag=True, help="Name all faults, and do none."),
    )

    def execute_now(
        self,
        names: tuple[str, ...],
        short: bool,
        seed: int | None,
        minutes: float,
        listing: bool,
        **_: Any,
    ) -> int:
        """Choose, run, and show."""
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

        results = asyncio.run(run_all(folder, seed, chosen, show))
        table = {"seed": seed, "faults": [result.as_json() for result in results]}
        (folder / "table.json").write_bytes(orjson.dumps(table, option=orjson.OPT_INDENT_2))
        click.echo("\n" + HEAD)
        for result in results:
            click.echo(line(result))
        click.echo(summary(results, seed))
        return 0 if all(result.ok for result in results) else 1
