"""`streams bench`: measures the published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from streams.cli.base import StreamsCommand, argument, one_line, option
from streams.cli.up import WORKERS_OPTION
from streams.errors import StreamsError
from streams.native import described as described_core
from streams.settings import Settings

EXTRA = "`streams bench` needs the extra `bench`: pip install 'group-streams[lab,embedded,bench]'"


class bench(StreamsCommand):
    """Measure the published figures: NAME is a bench or `all`; without NAME, list the benches.

    Every bench starts its own workers and, unless STREAMS_BROKERS is set, its own Kafka under
    STREAMS_DATA, and stops them afterwards.  A figure is the median of all runs, with its range.
    """

    options = (
        argument("name", default=""),
        WORKERS_OPTION,
        option(
            "--runs",
            type=click.IntRange(min=1),
            default=None,
            help="Number of runs of each bench; default: 3.",
        ),
        option(
            "--quick",
            is_flag=True,
            help="One small run, to check that a bench works; its figures mean nothing.",
        ),
        option(
            "--no-baseline",
            "baseline",
            flag_value=False,
            default=True,
            help="Skip the comparison with stock Faust.",
        ),
        option(
            "--queues",
            type=click.IntRange(min=10_000),
            default=None,
            help="Number of queues that `scale` goes up to.",
        ),
        option(
            "--bindings",
            type=click.IntRange(min=1, max=9),
            default=2,
            help="Number of groups that `scale` binds each queue to.",
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
            help="Write plots into this folder.",
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
        """Run the benches, print their figures, and write JSON and plots."""
        try:
            from streams.lab.bench import suite
            from streams.lab.bench.harness import Options
            from streams.lab.bench.report import as_json, as_text

            if plots is not None:
                import matplotlib as _matplotlib  # noqa: F401 - fail now, not after an hour
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
        click.echo(f"native core: {described_core(settings.native)}")
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
            if json_file is not None:  # after each bench, because all of them take hours
                json_file.parent.mkdir(parents=True, exist_ok=True)
                document = suite.conditions(settings, options)
                document["benches"] = [as_json(done) for done in outcomes]
                json_file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            if plots is not None:
                suite.draw(outcome, plots)
        return failed
