"""The raw rows of a table partition, for `streams verify` and the demo.

Internal: the layout of rows may change with any version.

`GET /v1/tables/{table}/{partition}/rows?after=KEY&limit=N` returns
`{"position": 17, "rows": [["key", "value"], ...], "next": "KEY" or null}`, keys and values
as unpadded base64url, in ascending order of the raw key.  All rows of one page are those at
`position`, the next source offset to be folded; the next page may have a later one.
"""

from __future__ import annotations

import base64
import binascii
from itertools import islice
from typing import Any

from aiohttp import web

from streams.folds.tables import TABLES
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError, bad_request
from streams.gateway.http.paths import integer
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Partition
from streams.gateway.reads.barrier import Barrier
from streams.gateway.routes.paging import partition_number

MAX_ROWS = 10_000
DEFAULT_ROWS = 1000
MAX_PAGE_BYTES = 4 * 1024 * 1024
MAX_KEY_BYTES = 2048


class TableRoutes(Routes):
    """The handler for raw rows."""

    def __init__(self, router: PartitionRouter, barrier: Barrier, partitions: int) -> None:
        self._router = router
        self._barrier = barrier
        self._partitions = partitions

    async def rows(self, context: RequestContext) -> web.StreamResponse:
        """Return a page of raw rows, all of one position of the fold."""
        table = context.segments["table"]
        if table not in TABLES:
            raise HTTPError(404, "not_found", f"no such table; the tables are {', '.join(TABLES)}")
        number = partition_number(context.segments["partition"], self._partitions)
        parameters = context.parameters("after", "limit")
        limit = integer(parameters, "limit", DEFAULT_ROWS, 1, MAX_ROWS)
        after = _raw_key(parameters["after"]) if "after" in parameters else None

        async def read(partition: Partition) -> web.StreamResponse:
            def page() -> dict[str, Any]:
                self._router.check(partition)
                return _page(partition, after, limit)

            return json_response(await self._barrier.call(partition, page))

        return await self._router.read_partition(context.proxied, table, number, read)

    ROUTES = (HTTPRoute("GET", "/v1/tables/{table}/{partition}/rows", rows),)


def _page(partition: Partition, after: bytes | None, limit: int) -> dict[str, Any]:
    page: list[tuple[str, str]] = []
    size = 0
    following = None
    for key, value in islice(partition.rows.items(after), limit + 1):
        if len(page) == limit or size > MAX_PAGE_BYTES:
            following = page[-1][0]
            break
        page.append((_text(key), _text(value)))
        size += len(key) + len(value)
    return {"position": partition.position, "rows": page, "next": following}


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw_key(text: str) -> bytes:
    if len(text) <= MAX_KEY_BYTES:
        try:
            standard = text.rstrip("=").replace("-", "+").replace("_", "/")
            return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise bad_request("bad_base64", "after must be a key in base64url, as in `next`")
