"""`streams bench`: the published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson
from faust.cli.base import argument, option

from streams.cli.base import StreamsCommand, one_line
from streams.cli.up import WORKERS_OPTION
from streams.errors import StreamsError
from streams.settings import Settings

EXTRA = "install the extra `bench`: pip install 'group-streams[lab,embedded,bench]'"


class bench(StreamsCommand):
    """Measure the published figures: NAME is a bench, or `all`; without one, they are listed.

    Every bench starts a Kafka (unless STREAMS_BROKERS is set) and workers of its own, under
    STREAMS_DATA, and stops them again.  Each figure is the median of the runs with its spread.
    """

    options = (
        argument("name", default=""),
        WORKERS_OPTION,
        option("--runs", type=click.IntRange(min=1), default=None, help="Runs of each bench."),
        option("--quick", is_flag=True, help="Small and once: does it work?  No figures to show."),
        option("--no-baseline", "baseline", flag_value=False, default=True, help="No stock Faust."),
        option(
            "--queues",
            type=click.IntRange(min=10_000),
            default=None,
            help="How many queues `scale` goes up to.",
        ),
        option(
            "--bindings",
            type=click.IntRange(min=1, max=9),
            default=2,
            help="How many groups `scale` binds each queue to.",
        ),
        option(
            "--json",
            "json_file",
            type=click.Path(dir_okay=False, path_type=Path),
            default=None,
            help="Write the figures to this file.",
        ),
        option(
            "--plot",
            "plots",
            type=click.Path(file_okay=False, path_type=Path),
            default=None,
            help="Draw what grows, into this folder.",
        ),
    )

    def execute_now(
        self,
        name: str,
        workers: int,
        runs: int | None,
        quick: bool,
        baseline: bool,
        queues: int | None,
        bindings: int,
        json_file: Path | None,
        plots: Path | None,
        **_: Any,
    ) -> int:
        """Run the benches, print their figures, and write what is asked for."""
        try:
            from streams.lab.bench import suite
            from streams.lab.bench.harness import Options
            from streams.lab.bench.report import as_json, as_text

            if plots is not None:
                import matplotlib as _matplotlib  # noqa: F401 - now, not after an hour's run
        except ModuleNotFoundError as error:
            raise click.ClickException(f"{error}: {EXTRA}") from error

        if name not in (*suite.BENCHES, "all"):
            for known, described in suite.BENCHES.items():
                click.echo(f"{known:<10} {described.what}")
            return 0 if not name else 2
        settings = Settings.from_env()
        options = Options(
            workers=workers,
            runs=runs or (1 if quick else 3),
            quick=quick,
            baseline=baseline,
            queues=queues or (20_000 if quick else 10_000_000),
            bindings=bindings,
        )
        outcomes = []
        failed = 0
        for one in suite.ALL if name == "all" else (name,):
            try:
                outcome = suite.run(one, settings, options)
            except StreamsError as error:
                if name != "all":
                    raise
                click.echo(f"streams: {one}: {one_line(error)}", err=True)
                failed = 1
                continue
            click.echo(as_text(outcome) + "\n")
            outcomes.append(outcome)
            if json_file is not None:  # after each: the whole takes long
                json_file.parent.mkdir(parents=True, exist_ok=True)
                document = suite.conditions(settings, options)
                document["benches"] = [as_json(done) for done in outcomes]
                json_file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            if plots is not None:
                suite.draw(outcome, plots)
        return failed
