"""`streams session ...`: bindings that end with a session of their queue."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import click

from streams.cli.base import ours
from streams.cli.client_command import Printer, client_command, printable
from streams.cli.times import SECONDS

if TYPE_CHECKING:
    from streams.client import Client

_GROUPS = click.option(
    "--group", "groups", multiple=True, help="Group to bind during the session; may be repeated."
)
_HIDDEN = click.option(
    "--no-presence", is_flag=True, help="Do not announce the session to the group presence:QUEUE."
)


@ours.group()
def session() -> None:
    """Open, keep alive or close a session of a queue."""


@client_command(session, "open")
@click.argument("queue")
@click.argument("session")
@_GROUPS
@click.option(
    "--ttl",
    type=SECONDS,
    metavar="TIME",
    help="End the session after this time without a heartbeat.",
)
@_HIDDEN
async def open_session(
    client: Client,
    show: Printer,
    *,
    queue: str,
    session: str,
    groups: tuple[str, ...],
    ttl: float | None,
    no_presence: bool,
) -> None:
    """Open a session of a queue; its previous session ends."""
    await client.open_session(queue, session, groups, ttl=ttl, presence=not no_presence)
    show({"queue": queue, "session": session, "open": True}, printable(f"{session} is open"))


@client_command(session)
@click.argument("queue")
@click.argument("session")
async def heartbeat(client: Client, show: Printer, *, queue: str, session: str) -> None:
    """Send a heartbeat for a session; exit code 1 if it is not open."""
    await client.heartbeat(queue, session)
    show({"queue": queue, "session": session, "open": True}, printable(f"{session} is open"))


@client_command(session)
@click.argument("queue")
@click.argument("session")
async def close(client: Client, show: Printer, *, queue: str, session: str) -> None:
    """Close a session; its bindings end."""
    await client.close_session(queue, session)
    show({"queue": queue, "session": session, "open": False}, printable(f"{session} is closed"))


@client_command(session)
@click.argument("queue")
@click.option("--session", "id", help="Session id; default: a new one.")
@_GROUPS
@click.option(
    "--ttl",
    type=SECONDS,
    default=30.0,
    metavar="TIME",
    help="End it after this time without a heartbeat; default: 30s.",
)
@_HIDDEN
async def hold(
    client: Client,
    show: Printer,
    *,
    queue: str,
    id: str | None,
    groups: tuple[str, ...],
    ttl: float,
    no_presence: bool,
) -> None:
    """Hold a session open until Ctrl-C; exit code 1 if another session takes over."""
    name = id or str(uuid.uuid4())
    async with client.session(queue, id=name, groups=groups, ttl=ttl, presence=not no_presence):
        show({"queue": queue, "session": name, "open": True}, printable(f"{name} is open"))
        await asyncio.Event().wait()
