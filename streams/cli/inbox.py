"""`streams read` and `ack`: what is in a queue, and being done with it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from streams.cli.client_command import LONGEST_WAIT_SECONDS, Printer, client_command
from streams.cli.times import SECONDS

if TYPE_CHECKING:
    from streams.client import Client

PAGE = 100
_OF_STREAMS = ("type", "queue", "redelivered")
"""What a stream says of a message besides what an inbox does."""


@client_command()
@click.argument("queue")
@click.option("--after", type=click.IntRange(0), default=0, metavar="SEQ", help="Begin after it.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="So many at most.")
@click.option(
    "--wait",
    type=SECONDS,
    default=0.0,
    metavar="TIME",
    help="Wait so long for the first, if there is none.",
)
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C or --limit.")
@click.option("--ack", is_flag=True, help="Acknowledge each when it is shown.")
async def read(
    client: Client,
    show: Printer,
    *,
    queue: str,
    after: int,
    limit: int | None,
    wait: float,
    follow: bool,
    ack: bool,
) -> None:
    """Printer the messages of a queue, the oldest first; by default up to 100 that are there."""
    if follow:
        await _follow(client, show, queue, after, limit, ack)
        return
    left = limit or PAGE
    while left:
        found = await client.inbox(
            queue, after=after, limit=min(left, PAGE), wait=min(wait, LONGEST_WAIT_SECONDS)
        )
        for delivery in found:
            show.message(delivery.fields)
        if ack and found:
            sys.stdout.flush()
            await client.ack(queue, seqs=[delivery.seq for delivery in found])
        if found:
            left, after, wait = left - len(found), found[-1].seq, 0.0
        elif wait <= LONGEST_WAIT_SECONDS:
            return
        else:
            wait -= LONGEST_WAIT_SECONDS


async def _follow(
    client: Client, show: Printer, queue: str, after: int, limit: int | None, ack: bool
) -> None:
    await client.queue(queue)  # a subscription would wait for a worker for ever
    left = limit
    async with client.subscribe(queue, after=after, auto_ack=False) as deliveries:
        async for delivery in deliveries:
            show.message({k: v for k, v in delivery.fields.items() if k not in _OF_STREAMS})
            sys.stdout.flush()
            if ack:
                await delivery.ack()
            if left is not None:
                left -= 1
                if left == 0:
                    return


@client_command(name="ack")
@click.argument("queue")
@click.argument("seqs", nargs=-1, type=click.IntRange(0), metavar="[SEQ]...")
@click.option("--upto", type=click.IntRange(0), metavar="SEQ", help="All up to this one.")
async def acknowledge(
    client: Client, show: Printer, *, queue: str, seqs: tuple[int, ...], upto: int | None
) -> None:
    """Be done with messages of a queue, once for all."""
    if (upto is None) == (not seqs):
        raise click.UsageError("give either seqs or --upto")
    await client.ack(queue, upto=upto, seqs=seqs)
    if upto is not None:
        show({"queue": queue, "upto": upto}, f"done with all up to {upto}")
    else:
        show({"queue": queue, "seqs": seqs}, f"done with {len(seqs)}")
