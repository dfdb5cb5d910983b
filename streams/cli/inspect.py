"""`streams inspect`: what the tables hold about one group or queue, and which worker owns it."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import orjson

from streams.cli.base import StreamsCommand, argument, option
from streams.settings import Settings


class inspect(StreamsCommand):
    """Show what the tables hold about a group or a queue, and which worker owns it.

    KIND is group or queue.
    """

    options = (
        argument("kind", type=click.Choice(["group", "queue"])),
        argument("id"),
        option("--limit", type=click.IntRange(1, 1000), default=20, help="Limit of each list."),
        option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    )

    def execute_now(self, kind: str, limit: int, as_json: bool, **options: Any) -> int:
        """Ask the gateway and print the answer."""
        from streams.ids import check_id
        from streams.operate.lookup import look_up

        settings = Settings.from_env()
        name: str = options["id"]
        check_id(name, f"{kind} id")
        found = asyncio.run(look_up(settings, kind, name, limit))
        if as_json or self.json:
            click.echo(orjson.dumps(found).decode())
            return 0
        for label, value in found.items():
            if not isinstance(value, list):
                click.echo(f"{label}: {'none' if value is None else value}")
                continue
            click.echo(f"{label}:" if value else f"{label}: none")
            for item in value:
                click.echo(f"  {item if isinstance(item, str) else _message(item)}")
            if len(value) == limit:
                click.echo(f"  (--limit {limit} reached)")
        return 0


def _message(message: dict[str, Any]) -> str:
    body = message.get("body")
    shown = f"{body[:60]!r}" if body is not None else f"base64 {message['body_base64'][:60]}"
    where = f"{message['seq']} {message['id']} in {message['group']}"
    return f"{where} from {message['sender']}: {shown}"
