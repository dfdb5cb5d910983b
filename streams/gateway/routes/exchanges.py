"""The exchanges of AMQP: list them."""

from __future__ import annotations

from aiohttp import web

from streams.folds.tables import QUEUES
from streams.gateway.amqp.exchanges import declarations
from streams.gateway.amqp.names import TABLE
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Partition


class ExchangeRoutes(Routes):
    """Handlers for the exchanges that AMQP clients have declared."""

    def __init__(self, router: PartitionRouter) -> None:
        self._router = router

    async def exchanges(self, context: RequestContext) -> web.StreamResponse:
        """List the exchanges that were declared."""
        context.parameters()

        async def read(partition: Partition) -> web.StreamResponse:
            found = declarations(partition.rows)
            return json_response({"exchanges": [exchange.shown() for exchange in found]})

        return await self._router.read(context.proxied, QUEUES, TABLE, read)

    ROUTES = (HTTPRoute("GET", "/v1/exchanges", exchanges),)
