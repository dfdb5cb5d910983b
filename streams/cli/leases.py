"""`streams lease` and `nack`: a queue as a job pool for several consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.cli.client_command import LONGEST_WAIT_SECONDS, Printer, client_command
from streams.cli.times import SECONDS

if TYPE_CHECKING:
    from streams.client import Client, Job


@client_command()
@click.argument("queue")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=1, metavar="N", help="Limit of messages."
)
@click.option(
    "--wait", type=SECONDS, default=0.0, metavar="TIME", help="How long to wait if there is none."
)
@click.option(
    "--visibility",
    type=SECONDS,
    metavar="TIME",
    help="After this time, other consumers get what is not acknowledged; default: 30s.",
)
@click.option("--consumer", help="Id of the consumer; default: a new one.")
async def lease(
    client: Client,
    show: Printer,
    *,
    queue: str,
    limit: int,
    wait: float,
    visibility: float | None,
    consumer: str | None,
) -> None:
    """Lease messages of QUEUE as one of several consumers.

    End each lease by `streams ack QUEUE SEQ` or `streams nack`.
    """
    found: list[Job] = []
    while not found:
        patience = min(wait, LONGEST_WAIT_SECONDS)
        found = await client.lease(
            queue, limit=limit, visibility=visibility, wait=patience, consumer=consumer
        )
        wait -= patience
        if wait <= 0:
            break
    for job in found:
        show.message(job.delivery.fields)


@client_command()
@click.argument("queue")
@click.argument("seqs", nargs=-1, type=click.IntRange(0), required=True, metavar="SEQ...")
@click.option("--delay", type=SECONDS, metavar="TIME", help="How long to wait before the next try.")
@click.option(
    "--reject", is_flag=True, help="Do not retry: move to the dead-letter queue, if there is one."
)
@click.option(
    "--extend", type=SECONDS, metavar="TIME", help="Extend the lease to this time from now."
)
@click.option("--consumer", help="Only leases of this consumer.")
async def nack(
    client: Client,
    show: Printer,
    *,
    queue: str,
    seqs: tuple[int, ...],
    delay: float | None,
    reject: bool,
    extend: float | None,
    consumer: str | None,
) -> None:
    """Return leased messages for another try; or reject them, or extend their lease."""
    if (delay is not None) + reject + (extend is not None) > 1:
        raise click.UsageError("give one of --delay, --reject and --extend")
    outcome = "reject" if reject else "retry" if extend is None else "extend"
    await client.nack(queue, seqs, outcome=outcome, delay=extend or delay or 0.0, consumer=consumer)
    show({"queue": queue, "seqs": seqs, "outcome": outcome}, f"{outcome}: {len(seqs)}")
