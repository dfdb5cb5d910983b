"""`streams bind`, `unbind` and `members`: which queue receives what is sent to a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.cli.client_command import Printer, client_command, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.client import Client

LIMIT = click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="So many at most; by default all."
)
_SESSION = "--session"


@client_command()
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...")
@click.argument("queue")
@click.option(_SESSION, help="Until this session of the queue ends.")
async def bind(
    client: Client, show: Printer, *, groups: tuple[str, ...], queue: str, session: str | None
) -> None:
    """Have QUEUE receive what is sent to these groups from now on."""
    await _change(client, show, "bind", groups, queue, session)


@client_command()
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...")
@click.argument("queue")
@click.option(_SESSION, help="Only bindings of this session.")
async def unbind(
    client: Client, show: Printer, *, groups: tuple[str, ...], queue: str, session: str | None
) -> None:
    """End bindings of QUEUE to groups."""
    await _change(client, show, "unbind", groups, queue, session)


async def _change(
    client: Client,
    show: Printer,
    kind: str,
    groups: tuple[str, ...],
    queue: str,
    session: str | None,
) -> None:
    more: dict[str, Any] = {} if session is None else {"session": session}
    await client.send_events(
        {"type": kind, "group": group, "queue": queue, **more} for group in groups
    )
    for group in groups:
        said = "bound to" if kind == "bind" else "unbound from"
        show({"group": group, "queue": queue, **more}, printable(f"{queue} {said} {group}"))


@client_command()
@click.argument("group")
@LIMIT
async def members(client: Client, show: Printer, *, group: str, limit: int | None) -> None:
    """List the queues that are bound to a group."""
    await list_ids(show, "queue", client.members(group), limit)


async def list_ids(show: Printer, name: str, ids: AsyncIterator[str], limit: int | None) -> None:
    """Print ids, one a line, `limit` of them at most."""
    left = limit
    async for one in ids:
        show({name: one}, printable(one))
        if left is not None:
            left -= 1
            if left == 0:
                return
