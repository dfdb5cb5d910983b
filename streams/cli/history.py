"""`streams history`: what was sent to a group."""

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
    help="An offset, or 90s, 15m, 2h or 1d ago, or a time as in 2026-08-20T18:00Z.",
)
@click.option("--to", "stop", type=POSITION, metavar="POSITION", help="Up to there, without it.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="So many at most.")
@click.option("--follow", is_flag=True, help="Go on with what is sent, until Ctrl-C or --limit.")
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
    """Printer what was sent to a group, or to @QUEUE, as long as the log keeps it."""
    if follow and stop is not None:
        raise click.UsageError("give --follow or --to, not both")
    async for message in client.history(group, from_=start, to=stop, limit=limit, follow=follow):
        show.message(message)
        if follow:
            sys.stdout.flush()
