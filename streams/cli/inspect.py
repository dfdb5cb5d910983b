"""`streams inspect`: what the tables hold of one group or queue, and where."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import orjson
from faust.cli.base import argument, option

from streams.cli.base import StreamsCommand
from streams.folds.tables import MEMBERS, QUEUES
from streams.settings import Settings

GROUP = "group"
QUEUE = "queue"


class inspect(StreamsCommand):
    """Show what the tables hold of a group or a queue, and where.

    KIND is group or queue.
    """

    options = (
        argument("kind", type=click.Choice([GROUP, QUEUE])),
        argument("id"),
        option("--limit", type=click.IntRange(1, 1000), default=20, help="List so many at most."),
        option("--json", "as_json", is_flag=True, help="One JSON object."),
    )

    def execute_now(self, kind: str, limit: int, as_json: bool, **options: Any) -> int:
        """Ask the gateway and print the answer."""
        from streams.ids import check_id

        settings = Settings.from_env()
        name: str = options["id"]
        check_id(name, f"{kind} id")
        found = asyncio.run(look(settings, kind, name, limit))
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


async def look(settings: Settings, kind: str, name: str, limit: int) -> dict[str, Any]:
    """Return what the tables hold of a group or queue.

    Raises:
        StreamsError: no worker answers, or the partition cannot answer now.
    """
    from streams.kafka.partitioner import partition_of
    from streams.operate.cluster import Cluster
    from streams.operate.gateway import Gateway, path

    table = MEMBERS if kind == GROUP else QUEUES
    number = partition_of(name.encode(), settings.partitions)
    async with Gateway([settings.advertised_url], settings) as gateway:
        cluster = Cluster(gateway)
        await cluster.find_workers()
        place = (await cluster.places()).get((table, number))
        found: dict[str, Any] = {
            kind: name,
            "partition": f"{number} of {table}",
            "owner": place.owner if place else None,
            "state": place.state if place else None,
            "position": place.position if place else None,
            "lag": place.lag if place else None,
        }
        if kind == GROUP:
            members = path("v1", "groups", name, "queues")
            answer = await gateway.ask("GET", f"{members}?limit={limit}")
            return {**found, "queues": answer["queues"]}
        queue = path("v1", "queues", name)
        summary = await gateway.ask("GET", queue)
        inbox = await gateway.ask("GET", f"{queue}/messages?limit={limit}")
        bound = await gateway.ask("GET", f"{queue}/groups?limit={limit}")
        return {
            **found,
            "session": summary["session"],
            "depth": summary["depth"],
            "messages": inbox["messages"],
            "bindings": summary["groups"],
            "groups": bound["groups"],
        }


def _message(message: dict[str, Any]) -> str:
    body = message.get("body")
    shown = f"{body[:60]!r}" if body is not None else f"base64 {message['body_base64'][:60]}"
    where = f"{message['seq']} {message['id']} in {message['group']}"
    return f"{where} from {message['sender']}: {shown}"
