"""What the live tables hold about one group or one queue, for `streams inspect`."""

from __future__ import annotations

from typing import Any, Final

from streams.client.requests import path
from streams.folds.tables import MEMBERS, QUEUES
from streams.kafka.partitioner import partition_of
from streams.operate.cluster import Cluster
from streams.operate.gateway_client import GatewayClient
from streams.settings import Settings

GROUP: Final = "group"
QUEUE: Final = "queue"


async def look_up(settings: Settings, kind: str, name: str, limit: int) -> dict[str, Any]:
    """Return the rows of a `GROUP` or `QUEUE`, its partition, and the partition's owner.

    Each list has at most `limit` items.

    Raises:
        StreamsError: no worker answers, or the partition cannot answer now.
    """
    table = MEMBERS if kind == GROUP else QUEUES
    number = partition_of(name.encode(), settings.partitions)
    async with GatewayClient([settings.advertised_url], settings) as gateway:
        cluster = Cluster(gateway)
        await cluster.find_workers()
        status = (await cluster.partitions()).get((table, number))
        found: dict[str, Any] = {
            kind: name,
            "partition": f"{number} of {table}",
            "owner": status.owner if status else None,
            "state": status.state if status else None,
            "position": status.position if status else None,
            "lag": status.lag if status else None,
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
