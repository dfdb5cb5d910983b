"""`streams replay`: rebuilds a table partition from its log, and prints it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import orjson
from faust.cli.base import option

from streams.commands.base import StreamsCommand
from streams.errors import StreamsError
from streams.settings import TABLES, Settings


class replay(StreamsCommand):
    """Rebuild a table partition from its log, and print its rows as JSON, one a line.

    Needs Kafka, but no worker: this is what the log says the table must be.
    """

    options = (
        option("--table", type=click.Choice(TABLES), required=True, help="Which table."),
        option("--partition", type=click.IntRange(min=0), required=True, help="Which partition."),
        option(
            "--to",
            type=click.IntRange(min=0),
            metavar="OFFSET",
            help="Stop before this offset of the source topic; by default at its end.",
        ),
    )

    def execute_now(self, table: str, partition: int, to: int | None, **_: Any) -> int:
        """Fold and print."""
        from streams.commands import describe
        from streams.commands.progress import progress, say
        from streams.commands.rebuild import open_rebuilt, resources, source_topic
        from streams.commands.topiclog import TopicLog

        settings = Settings.from_env()
        topic = source_topic(settings, table)
        with TopicLog(settings) as log, tempfile.TemporaryDirectory(prefix="streams-") as folder:
            if partition not in log.partitions(topic):
                raise StreamsError(f"{topic} has no partition {partition}")
            bounds = log.bounds(topic, partition)
            end = bounds.high if to is None else to
            if not bounds.low <= end <= bounds.high:
                raise StreamsError(
                    f"--to {end}: {topic} {partition} has offsets {bounds.low} to {bounds.high}"
                )
            rebuilt = open_rebuilt(log, settings, table, partition, Path(folder), resources())
            try:
                if rebuilt.from_changelog:
                    say(f"{topic} begins at {bounds.low}: starting from the changelog")
                    if rebuilt.position > end:
                        raise StreamsError(f"--to {end}: the log begins at {rebuilt.position}")
                done = 0
                with progress(f"folding {topic} {partition}", end - rebuilt.position) as report:

                    def count(records: int) -> None:
                        nonlocal done
                        done += records
                        report(done)

                    rebuilt.roll(end, count)
                for key, value in rebuilt.items():
                    click.echo(orjson.dumps(describe.row(table, key, value)))
            finally:
                rebuilt.close()
        return 0
