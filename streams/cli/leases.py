"""`streams lease` and `nack`: a queue as a pool of jobs for several consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.cli.client_command import LONGEST_WAIT_SECONDS, Printer, client_command
from streams.cli.times import SECONDS

if TYPE_CHECKING:
    from streams.client import Client, Job


@client_command()
@click.argument("queue")
@click.option("--limit", type=click.IntRange(1, 1000), default=1, metavar="N", help="At most.")
@click.option("--wait", type=SECONDS, default=0.0, metavar="TIME", help="For the first, if none.")
@click.option(
    "--visibility",
    type=SECONDS,
    metavar="TIME",
    help="Others get what is not acknowledged in this time; 30 s as a rule.",
)
@click.option("--consumer", help="Who takes them; a new id by default.")
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
    """Take messages of a queue as one of several consumers.

    Then `streams ack QUEUE SEQ` when a job is done, or `streams nack`.
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
@click.option("--delay", type=SECONDS, metavar="TIME", help="Not to be had again before.")
@click.option("--reject", is_flag=True, help="Give them up: to the dead-letter queue, if any.")
@click.option("--extend", type=SECONDS, metavar="TIME", help="Keep the lease so long from now.")
@click.option("--consumer", help="Only what this one has.")
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
    """Give messages back, to be tried again; or up; or keep them for longer."""
    if (delay is not None) + reject + (extend is not None) > 1:
        raise click.UsageError("give one of --delay, --reject and --extend")
    outcome = "reject" if reject else "retry" if extend is None else "extend"
    await client.nack(queue, seqs, outcome=outcome, delay=extend or delay or 0.0, consumer=consumer)
    show({"queue": queue, "seqs": seqs, "outcome": outcome}, f"{outcome}: {len(seqs)}")
