"""`streams replay`: delivers part of a log again, or rebuilds a table partition from it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import orjson

from streams.cli.base import StreamsCommand, argument, option
from streams.cli.client_command import OPTIONS, Printer, ask
from streams.cli.times import POSITION
from streams.folds.tables import TABLES
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.client import Client


class replay(StreamsCommand):
    """Deliver past messages of GROUP to QUEUE again.

    Repeating it within ten minutes delivers nothing twice.  Needs a worker.

    With --table and --partition, rebuild that table partition from its log instead, and print
    its rows as JSON, one per line: what the log says the table must hold.  Needs Kafka, but no
    worker.
    """

    options = (
        argument("group", required=False),
        argument("queue", required=False),
        option(
            "--from",
            "start",
            type=POSITION,
            metavar="POSITION",
            help="Start here: an offset, a duration ago (90s, 15m, 2h, 1d), or a time such as "
            "2026-08-20T18:00Z.",
        ),
        option(
            "--to",
            "stop",
            type=POSITION,
            metavar="POSITION",
            help="Stop before this position; default: the end.  For a table, an offset.",
        ),
        option("--table", type=click.Choice(TABLES), help="Table to rebuild."),
        option("--partition", type=click.IntRange(min=0), help="Partition of that table."),
        option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
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
        """Ask a worker to replay, or rebuild and print."""
        if group is not None and queue is not None and table is None and partition is None:
            show = Printer(as_json or self.json)

            async def work(client: Client) -> None:
                count = await client.replay(
                    group, queue, from_=start or 0, to=stop, on_held=show.held
                )
                show({"group": group, "queue": queue, "replayed": count}, f"{count} replayed")

            return ask(work, whom["urls"], whom["token_file"], whom["timeout"])
        if table is None or partition is None or group is not None:
            raise click.UsageError("give GROUP and QUEUE, or --table and --partition")
        if start is not None or isinstance(stop, datetime):
            raise click.UsageError("with --table, --from is not allowed, and --to is an offset")
        from streams.operate.rebuild import rebuilt_rows

        for row in rebuilt_rows(Settings.from_env(), table, partition, stop):
            click.echo(orjson.dumps(row))
        return 0
