"""`streams publish` and `streams events`: sends one message, or many events of any kind."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import orjson

from streams.amounts import counted
from streams.cli.client_command import Printer, client_command
from streams.cli.times import FUTURE_TIME
from streams.errors import Unavailable
from streams.ids import direct_queue

if TYPE_CHECKING:
    from streams.client import Client


def _headers(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{one!r}: give NAME=VALUE")
        found[name] = value
    return found


@client_command()
@click.argument("to")
@click.argument("body", required=False)
@click.option(
    "--file", "file", type=click.File("rb"), help="Read the body from this file; - is stdin."
)
@click.option("--sender", default="", help="Queue id of the sender.")
@click.option("--kind", default="text", show_default=True, help="Kind of message, for receivers.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    callback=_headers,
    metavar="NAME=VALUE",
    help="Header; may be repeated.",
)
@click.option(
    "--id",
    "id",
    help="Message id: one sender's same id within ten minutes is a duplicate. Default: a new one.",
)
@click.option(
    "--expires",
    type=FUTURE_TIME,
    metavar="TIME",
    help="When it expires: 90s, 15m, 2h, 1d, or a time.",
)
@click.option("--transient", is_flag=True, help="Deliver only to queues with an open session.")
@click.option("--no-echo", is_flag=True, help="Do not deliver to the sender's own queue.")
@click.option(
    "--receipt", is_flag=True, help="Send the sender a receipt when a receiver acknowledges."
)
@click.option(
    "--priority", type=click.IntRange(0, 9), help="Priority as a job: higher is leased first."
)
async def publish(
    client: Client,
    show: Printer,
    *,
    to: str,
    body: str | None,
    file: BinaryIO | None,
    sender: str,
    kind: str,
    headers: dict[str, str],
    id: str | None,
    expires: datetime | None,
    transient: bool,
    no_echo: bool,
    receipt: bool,
    priority: int | None,
) -> None:
    """Send a message to a group, or directly to a queue: TO is GROUP or @QUEUE.

    The body is BODY, a file, or stdin.  Returns once Kafka has confirmed the message.
    """
    from streams.client import Draft

    queue = direct_queue(to)
    draft = Draft(
        _body(body, file),
        group=to if queue is None else None,
        queue=queue,
        sender=sender,
        kind=kind,
        headers=headers,
        id=id or str(uuid.uuid4()),
        expires_at=expires,
        persistent=not transient,
        echo=not no_echo,
        receipt=receipt,
        priority=priority,
    )
    try:
        placed = await client.publish_draft(draft)
    except Unavailable as error:
        raise Unavailable(
            f"{error}; Kafka may or may not have the message: send it again with --id {draft.id}"
        ) from error
    show(
        {"id": placed.id, "partition": placed.partition, "offset": placed.offset},
        f"{placed.id} {placed.partition}@{placed.offset}",
    )


def _body(text: str | None, file: BinaryIO | None) -> str | bytes:
    if text is not None and file is not None:
        raise click.UsageError("give BODY or --file, not both")
    if text is not None:
        # Arguments that are not UTF-8 become bytes.
        content = text.encode("utf-8", "surrogateescape")
    elif file is not None:
        content = file.read()
    elif sys.stdin.isatty():
        raise click.UsageError("give BODY or --file, or pipe the body to stdin")
    else:
        content = sys.stdin.buffer.read()
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


@client_command()
@click.argument("file", type=click.File("rb"), default="-")
async def events(client: Client, show: Printer, *, file: BinaryIO) -> None:
    """Send many events, one JSON object per line, from FILE or stdin.

    The events of POST /v1/events: {"type": "bind", "group": ..., "queue": ...}, unbind, message,
    ack, open, close, touch, nack, configure, purge, delete.
    """
    count = await client.send_events(_events(file))
    show({"events": count}, counted(count, "event"))


def _events(file: BinaryIO) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise click.UsageError(f"line {number} is not JSON: {error}") from None
        if not isinstance(event, dict):
            raise click.UsageError(f"line {number} is not a JSON object")
        if event.get("type") == "message":
            event.setdefault("id", str(uuid.uuid4()))  # makes it safe to send again
        yield event
