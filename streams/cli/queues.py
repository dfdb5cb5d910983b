"""`streams queue ...` and `streams erase`: inspects, configures and deletes queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from streams.cli.base import ours
from streams.cli.bindings import LIMIT, list_ids
from streams.cli.client_command import Printer, client_command, printable
from streams.cli.times import SECONDS
from streams.events.limits import CONFIGURE_OVERFLOW_VALUES

if TYPE_CHECKING:
    from streams.client import Client


@ours.group()
def queue() -> None:
    """Inspect, configure, purge or delete a queue."""


@client_command(queue)
@click.argument("queue")
async def show(client: Client, show: Printer, *, queue: str) -> None:
    """Show the number of messages and bindings of QUEUE, and its session."""
    found = await client.queue(queue)
    show(
        {
            "queue": printable(queue),
            "depth": found.depth,
            "groups": found.groups,
            "session": found.session,
        }
    )


@client_command(queue)
@click.argument("queue")
@LIMIT
async def groups(client: Client, show: Printer, *, queue: str, limit: int | None) -> None:
    """List the groups that a queue is bound to."""
    await list_ids(show, "group", client.groups(queue), limit)


@client_command(queue)
@click.argument("queue")
async def options(client: Client, show: Printer, *, queue: str) -> None:
    """Show the options of QUEUE."""
    show(await client.options(queue))


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--max-length", type=click.IntRange(1), metavar="N", help="Limit of messages."),
    click.option("--max-bytes", type=click.IntRange(1), metavar="N", help="Limit of bytes."),
    click.option(
        "--overflow",
        type=click.Choice(CONFIGURE_OVERFLOW_VALUES),
        help="What happens when a limit is reached.",
    ),
    click.option(
        "--max-tries", type=click.IntRange(1), metavar="N", help="Most leases of a message."
    ),
    click.option("--dead-letter", metavar="QUEUE", help="Queue for messages that are given up."),
    click.option(
        "--visibility",
        "visibility_seconds",
        type=SECONDS,
        metavar="TIME",
        help="How long a lease lasts.",
    ),
    click.option(
        "--ttl",
        "ttl_seconds",
        type=SECONDS,
        metavar="TIME",
        help="Delete the queue when it is unused for this long.",
    ),
    click.option(
        "--message-ttl",
        "message_ttl_seconds",
        type=SECONDS,
        metavar="TIME",
        help="Expire messages that are in the queue for this long.",
    ),
    click.option(
        "--unset", multiple=True, metavar="OPTION", help="Reset this option to its default."
    ),
    click.option("--reset", is_flag=True, help="Reset every option that is not given here."),
)

_TIMES = ("ttl", "message_ttl", "visibility")
"""Options that take a time; over HTTP, their names end with the unit."""


def _with_options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@client_command(queue, "set")
@click.argument("queue")
@_with_options
async def set_options(
    client: Client,
    show: Printer,
    *,
    queue: str,
    unset: tuple[str, ...],
    reset: bool,
    **given: Any,
) -> None:
    """Set options of a queue; other options keep their values, unless --reset."""
    names = [name.replace("-", "_") for name in unset]
    names = [f"{name}_seconds" if name in _TIMES else name for name in names]
    unknown = [name for name in names if name not in given]
    if unknown:
        raise click.UsageError(f"--unset {unknown[0]}: unknown queue option")
    wanted = {} if reset else await client.options(queue)
    wanted |= {name: value for name, value in given.items() if value is not None}
    wanted = {name: value for name, value in wanted.items() if name not in names}
    await client.configure(queue, **wanted)
    show(await client.options(queue))


@client_command(queue)
@click.argument("queue")
async def purge(client: Client, show: Printer, *, queue: str) -> None:
    """Remove all messages of a queue."""
    await client.purge(queue)
    show({"queue": queue, "purged": True}, printable(f"{queue} purged"))


@client_command(queue)
@click.argument("queue")
async def delete(client: Client, show: Printer, *, queue: str) -> None:
    """Delete a queue with its messages, bindings, session and options."""
    await client.delete(queue)
    show({"queue": queue, "deleted": True}, printable(f"{queue} deleted"))


@client_command()
@click.argument("queue")
async def erase(client: Client, show: Printer, *, queue: str) -> None:
    """Delete a user's queue; print what the logs still retain of it, and until when."""
    report = await client.delete(queue, erase=True) or {}
    if show.as_json:
        show(report)
        return
    kept = report["retained"]
    show(report, printable(f"erased of {queue}: {', '.join(report['erased'])}"))
    show(report, f"still retained: {kept['what']}")
    show(report, f"until: {kept['until']}")
