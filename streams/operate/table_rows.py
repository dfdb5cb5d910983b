"""Reads the raw rows of live tables page by page, over HTTP."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

from streams.client.requests import path
from streams.operate.gateway_client import GatewayClient

PAGE_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class RowPage:
    """Consecutive rows of one table partition, all from one position of its fold."""

    position: int
    """The first source offset that was not yet folded."""
    rows: list[tuple[bytes, bytes]]
    """Raw key and value, ascending by key."""
    last: bool
    """Whether no rows follow."""


async def page(gateway: GatewayClient, table: str, partition: int, after: bytes | None) -> RowPage:
    """Return the rows that follow `after`.

    Raises:
        Unavailable: no owner of the partition can answer.
    """
    query = f"?limit={PAGE_ROWS}" + (f"&after={_text(after)}" if after is not None else "")
    answer = await gateway.ask("GET", path("v1", "tables", table, str(partition), "rows") + query)
    rows = [(_raw(key), _raw(value)) for key, value in answer["rows"]]
    return RowPage(answer["position"], rows, answer["next"] is None)


async def pages(gateway: GatewayClient, table: str, partition: int) -> AsyncIterator[RowPage]:
    """Yield all rows of a table partition; each page may be from a later position."""
    after: bytes | None = None
    while True:
        found = await page(gateway, table, partition, after)
        yield found
        if found.last or not found.rows:
            return
        after = found.rows[-1][0]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
