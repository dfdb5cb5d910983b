"""`streams history`: the messages that were sent to a group."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from streams.cli.client_command import Printer, client_command
from streams.cli.times import POSITION

if TYPE_CHECKING:
    from streams.client import Client


@client_command()
@click.argument("group")
@click.option(
    "--from",
    "start",
    type=POSITION,
    default=0,
    metavar="POSITION",
    help="Start here: an offset, a duration ago (90s, 15m, 2h, 1d), or a time such as "
    "2026-08-20T18:00Z.",
)
@click.option("--to", "stop", type=POSITION, metavar="POSITION", help="Stop before this position.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Limit of messages.")
@click.option("--follow", is_flag=True, help="Keep printing new messages until Ctrl-C or --limit.")
async def history(
    client: Client,
    show: Printer,
    *,
    group: str,
    start: int | datetime,
    stop: int | datetime | None,
    limit: int | None,
    follow: bool,
) -> None:
    """Print the messages sent to GROUP, or to @QUEUE, that the log still retains."""
    if follow and stop is not None:
        raise click.UsageError("give --follow or --to, not both")
    async for message in client.history(
        group, from_=start, to=stop, limit=limit, follow=follow, on_held=show.held
    ):
        show.message(message)
        if follow:
            sys.stdout.flush()
