"""`streams read` and `ack`: reads and acknowledges the messages of a queue."""

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
"""Fields that a stream adds to those of an inbox."""


@client_command()
@click.argument("queue")
@click.option(
    "--after", type=click.IntRange(0), default=0, metavar="SEQ", help="Start after this seq."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Limit of messages.")
@click.option(
    "--wait",
    type=SECONDS,
    default=0.0,
    metavar="TIME",
    help="How long to wait for the first message if there is none.",
)
@click.option("--follow", is_flag=True, help="Keep reading new messages until Ctrl-C or --limit.")
@click.option("--ack", is_flag=True, help="Acknowledge each message once it is printed.")
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
    """Print the messages of QUEUE, oldest first; by default up to 100."""
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
    await client.queue(queue)  # fails if no worker answers; a subscription would wait
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
@click.option(
    "--upto", type=click.IntRange(0), metavar="SEQ", help="Acknowledge all up to this seq."
)
async def acknowledge(
    client: Client, show: Printer, *, queue: str, seqs: tuple[int, ...], upto: int | None
) -> None:
    """Acknowledge messages of QUEUE: they are removed for good."""
    if (upto is None) == (not seqs):
        raise click.UsageError("give either SEQ... or --upto")
    await client.ack(queue, upto=upto, seqs=seqs)
    if upto is not None:
        show({"queue": queue, "upto": upto}, f"acknowledged all up to {upto}")
    else:
        show({"queue": queue, "seqs": seqs}, f"acknowledged {len(seqs)}")
