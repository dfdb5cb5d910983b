"""The exchanges of AMQP: list them."""

from __future__ import annotations

from aiohttp import web

from streams.folds import views
from streams.folds.tables import MEMBERS, QUEUES
from streams.gateway.amqp import names
from streams.gateway.amqp.exchanges import declarations
from streams.gateway.amqp.names import TABLE
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Partition
from streams.gateway.routes.paging import MAX_PAGE, partition_number


class ExchangeRoutes(Routes):
    """Handlers for the exchanges that AMQP clients have declared."""

    def __init__(self, router: PartitionRouter, partitions: int) -> None:
        self._router = router
        self._partitions = partitions

    async def exchanges(self, context: RequestContext) -> web.StreamResponse:
        """List the exchanges that were declared."""
        context.parameters()

        async def read(partition: Partition) -> web.StreamResponse:
            found = declarations(partition.rows)
            return json_response({"exchanges": [exchange.shown() for exchange in found]})

        return await self._router.read(context.proxied, QUEUES, TABLE, read)

    async def bindings(self, context: RequestContext) -> web.StreamResponse:
        """List some of the bindings of an exchange in one partition, of all routing keys."""
        context.parameters()
        prefix = names.prefix(context.id("exchange"))
        number = partition_number(context.segments["partition"], self._partitions)

        async def read(partition: Partition) -> web.StreamResponse:
            found = views.bindings_below(partition.rows, prefix, MAX_PAGE)
            content = [{"group": group, "queue": queue} for group, queue in found]
            return json_response({"bindings": content})

        return await self._router.read_partition(context.proxied, MEMBERS, number, read)

    ROUTES = (
        HTTPRoute("GET", "/v1/exchanges", exchanges),
        HTTPRoute("GET", "/v1/exchanges/{exchange}/bindings/{partition}", bindings),
    )
