"""`streams bind`, `unbind` and `members`: which queues receive a group's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.cli.client_command import Printer, client_command, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.client import Client

LIMIT = click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Limit of the list; default: all."
)
_SESSION = "--session"
_PATTERN = "--pattern"


@client_command()
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...")
@click.argument("queue")
@click.option(_SESSION, help="Bind only until this session of the queue ends.")
@click.option(_PATTERN, help="Only messages whose header routing-key matches, such as a.*.# does.")
async def bind(
    client: Client,
    show: Printer,
    *,
    groups: tuple[str, ...],
    queue: str,
    session: str | None,
    pattern: str | None,
) -> None:
    """Let QUEUE receive the messages of these groups from now on."""
    await _change(client, show, "bind", groups, queue, session, pattern)


@client_command()
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...")
@click.argument("queue")
@click.option(_SESSION, help="Remove only bindings of this session.")
@click.option(_PATTERN, help="Remove only this pattern of the bindings.")
async def unbind(
    client: Client,
    show: Printer,
    *,
    groups: tuple[str, ...],
    queue: str,
    session: str | None,
    pattern: str | None,
) -> None:
    """Remove the bindings of QUEUE to these groups."""
    await _change(client, show, "unbind", groups, queue, session, pattern)


async def _change(
    client: Client,
    show: Printer,
    kind: str,
    groups: tuple[str, ...],
    queue: str,
    session: str | None,
    pattern: str | None,
) -> None:
    if session is not None and pattern is not None:
        raise click.UsageError(f"give {_SESSION} or {_PATTERN}: a pattern ends with no session")
    more: dict[str, Any] = {} if session is None else {"session": session}
    more |= {} if pattern is None else {"pattern": pattern}
    event = kind if pattern is None else f"{kind}_pattern"
    await client.send_events(
        {"type": event, "group": group, "queue": queue, **more} for group in groups
    )
    for group in groups:
        said = "bound to" if kind == "bind" else "unbound from"
        show({"group": group, "queue": queue, **more}, printable(f"{queue} {said} {group}"))


@client_command()
@click.argument("group")
@LIMIT
async def members(client: Client, show: Printer, *, group: str, limit: int | None) -> None:
    """List the queues that are bound to GROUP."""
    await list_ids(show, "queue", client.members(group), limit)


async def list_ids(show: Printer, name: str, ids: AsyncIterator[str], limit: int | None) -> None:
    """Print at most `limit` ids, one per line."""
    left = limit
    async for one in ids:
        show({name: one}, printable(one))
        if left is not None:
            left -= 1
            if left == 0:
                return
