"""`streams rescale`: more partitions."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click

from streams.amounts import counted
from streams.cli.base import exit_code, ours, stopped_by_signals
from streams.settings import Settings


@ours.command("rescale")
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    required=True,
    help="How many there are to be: a multiple of their present number.",
)
def rescale(partitions: int) -> NoReturn:
    """Split the partitions of a namespace whose workers are stopped.

    Topics keep their names and records, queues their seqs, readers their place.  Stop all workers,
    run it, set STREAMS_PARTITIONS to the new number, and start them again.
    A command that was broken off is repeated, and goes on; until it has ended, workers wait.

    The command needs disk space of about the size of both tables, in $TMPDIR.
    """

    def run() -> int:
        from streams.operate.progress import say
        from streams.operate.rescale.rescaling import rescale as split

        settings = Settings.from_env()
        with tempfile.TemporaryDirectory(prefix="streams-") as folder:
            done = split(settings, partitions, Path(folder))
        if not done.rows and done.former == done.partitions:
            say(f"the namespace has {counted(partitions, 'partition')} already")
            return 0
        say(
            f"split {counted(done.former, 'partition')} into {partitions}:"
            f" {counted(done.rows, 'row')} written or removed in {done.seconds:.1f} s"
        )
        if done.late:
            say(
                f"{counted(done.late, 'record')} came to {settings.group_events} meanwhile: workers"
                " forward those of groups that have moved"
            )
        say(f"now set STREAMS_PARTITIONS={partitions} and start the workers")
        return 0

    with stopped_by_signals():
        code = exit_code(run)
    sys.exit(code)
