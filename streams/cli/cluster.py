"""`streams cluster`: the status of all workers and partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.cli.client_command import Printer, client_command

if TYPE_CHECKING:
    from streams.client import Client


@client_command()
async def cluster(client: Client, show: Printer) -> None:
    """Show each partition's owner, state, lag and position in the log."""
    found = await client.cluster(all=True)
    if not show.as_json:
        click.echo(f"{'table':8} {'partition':>9} {'state':12} {'lag':>8} {'position':>12} owner")
    for row in found["partitions"]:
        lag, position = row.get("lag", "-"), row.get("position", "-")
        place = f"{row['table']:8} {row['partition']:>9} {row['state']:12}"
        held = row.get("held")
        note = f" held by an open transaction for {held['seconds']:.0f} s" if held else ""
        note += f" {row['lost']}" if row.get("lost") else ""
        show(row, f"{place} {lag:>8} {position:>12} {row['owner'] or '-'}{note}")
    for worker in found["workers"]:
        if not worker["answers"]:
            show(worker, f"{worker['url']} does not answer: {worker['error']}")
