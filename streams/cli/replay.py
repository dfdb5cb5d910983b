"""`streams replay`: the log once more, into a queue or as the rows of a table partition."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
from faust.cli.base import argument, option

from streams.cli.asking import OPTIONS, Show, ask
from streams.cli.base import StreamsCommand
from streams.cli.moments import PLACE
from streams.errors import StreamsError
from streams.folds.tables import TABLES
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.client import Client


class replay(StreamsCommand):
    """Deliver a span of the past of GROUP to QUEUE once more, for who came late.

    Done twice within ten minutes it delivers nothing twice.  Needs a worker.

    With --table and --partition instead, rebuild that table partition from its log, and
    print its rows as JSON, one a line.  Needs Kafka, but no worker: this is what the log says
    the table must be.
    """

    options = (
        argument("group", required=False),
        argument("queue", required=False),
        option(
            "--from",
            "start",
            type=PLACE,
            metavar="PLACE",
            help="An offset, or 90s, 15m, 2h or 1d ago, or a time as in 2026-08-20T18:00Z.",
        ),
        option(
            "--to",
            "stop",
            type=PLACE,
            metavar="PLACE",
            help="Stop before it; by default at the end.  Of a table it is an offset.",
        ),
        option("--table", type=click.Choice(TABLES), help="Which table to rebuild."),
        option("--partition", type=click.IntRange(min=0), help="Which partition of it."),
        option("--json", "as_json", is_flag=True, help="One JSON object a line."),
        *OPTIONS,
    )

    def execute_now(
        self,
        group: str | None,
        queue: str | None,
        start: int | datetime | None,
        stop: int | datetime | None,
        table: str | None,
        partition: int | None,
        as_json: bool,
        **whom: Any,
    ) -> int:
        """Ask a worker, or fold and print."""
        if group is not None and queue is not None and table is None and partition is None:
            show = Show(as_json or self.json)

            async def work(client: Client) -> None:
                count = await client.replay(group, queue, from_=start or 0, to=stop)
                show({"group": group, "queue": queue, "replayed": count}, f"{count} replayed")

            return ask(work, whom["urls"], whom["token_file"], whom["timeout"])
        if table is None or partition is None or group is not None:
            raise click.UsageError("give GROUP and QUEUE, or --table and --partition")
        if start is not None or isinstance(stop, datetime):
            raise click.UsageError("of a table, give no --from, and --to as an offset")
        return rebuild(table, partition, stop)


def rebuild(table: str, partition: int, to: int | None) -> int:
    """Rebuild a table partition from its log up to an offset, and print it."""
    from streams.operate import describe
    from streams.operate.progress import progress, say
    from streams.operate.rebuild import open_rebuilt, resources, source_topic
    from streams.operate.topiclog import TopicLog

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
