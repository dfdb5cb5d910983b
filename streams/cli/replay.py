"""`streams replay`: the log once more, into a queue or as the rows of a table partition."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import orjson
from faust.cli.base import argument, option

from streams.cli.base import StreamsCommand
from streams.cli.client_command import OPTIONS, Printer, ask
from streams.cli.times import POSITION
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
            type=POSITION,
            metavar="POSITION",
            help="An offset, or 90s, 15m, 2h or 1d ago, or a time as in 2026-08-20T18:00Z.",
        ),
        option(
            "--to",
            "stop",
            type=POSITION,
            metavar="POSITION",
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
            show = Printer(as_json or self.json)

            async def work(client: Client) -> None:
                count = await client.replay(group, queue, from_=start or 0, to=stop)
                show({"group": group, "queue": queue, "replayed": count}, f"{count} replayed")

            return ask(work, whom["urls"], whom["token_file"], whom["timeout"])
        if table is None or partition is None or group is not None:
            raise click.UsageError("give GROUP and QUEUE, or --table and --partition")
        if start is not None or isinstance(stop, datetime):
            raise click.UsageError("of a table, give no --from, and --to as an offset")
        from streams.operate.rebuild import rebuilt_rows

        for row in rebuilt_rows(Settings.from_env(), table, partition, stop):
            click.echo(orjson.dumps(row))
        return 0
