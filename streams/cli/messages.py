"""`streams publish` and `streams events`: sending messages, and any events, many at once."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import orjson

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
@click.option("--file", "file", type=click.File("rb"), help="The body; - is stdin.")
@click.option("--sender", default="", help="The queue that it is from.")
@click.option("--kind", default="text", show_default=True, help="What it is, for receivers.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    callback=_headers,
    metavar="NAME=VALUE",
    help="A header; may be given more than once.",
)
@click.option("--id", "id", help="Its id: within ten minutes it is the same message again.")
@click.option(
    "--expires", type=FUTURE_TIME, metavar="TIME", help="Not later: 90s, 15m, 2h, 1d, or a date."
)
@click.option("--transient", is_flag=True, help="Only to queues with an open session.")
@click.option("--no-echo", is_flag=True, help="Not to the sender's own queue.")
@click.option("--receipt", is_flag=True, help="Tell the sender when a receiver acknowledges.")
@click.option("--priority", type=click.IntRange(0, 9), help="For jobs: higher ones come first.")
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

    The body is BODY, or what a file holds, or stdin.  Done when Kafka has it.
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
            f"{error}; whether Kafka has it is not known: send it again with --id {draft.id}"
        ) from error
    show(
        {"id": placed.id, "partition": placed.partition, "offset": placed.offset},
        f"{placed.id} {placed.partition}@{placed.offset}",
    )


def _body(text: str | None, file: BinaryIO | None) -> str | bytes:
    if text is not None and file is not None:
        raise click.UsageError("give BODY or --file, not both")
    if text is not None:
        # What the shell handed over that is no UTF-8 is bytes.
        content = text.encode("utf-8", "surrogateescape")
    elif file is not None:
        content = file.read()
    elif sys.stdin.isatty():
        raise click.UsageError("give BODY, or --file, or the body on stdin")
    else:
        content = sys.stdin.buffer.read()
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


@client_command()
@click.argument("file", type=click.File("rb"), default="-")
async def events(client: Client, show: Printer, *, file: BinaryIO) -> None:
    """Send many events at once, a JSON object a line, from FILE or stdin.

    As POST /v1/events has them: {"type": "bind", "group": ..., "queue": ...}, unbind, message,
    ack, open, close, touch, nack, configure, purge, delete.
    """
    count = await client.send_events(_events(file))
    show({"events": count}, f"{count} events")


def _events(file: BinaryIO) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise click.UsageError(f"line {number} is not JSON: {error}") from None
        if not isinstance(event, dict):
            raise click.UsageError(f"line {number} is no JSON object")
        if event.get("type") == "message":
            event.setdefault("id", str(uuid.uuid4()))  # so that it may be sent twice
        yield event
