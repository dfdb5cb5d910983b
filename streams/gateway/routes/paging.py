"""What listings share: their query parameters, and how long a page may be."""

from __future__ import annotations

from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError
from streams.gateway.http.fields import id_of
from streams.gateway.http.paths import integer

MAX_PAGE = 1000
DEFAULT_PAGE = 100
MAX_WAIT_SECONDS = 60.0
"""Longest wait for a first message."""
MAX_RESPONSE_BYTES = 4 * 1024 * 1024
"""A response with deliveries ends with the message that takes it past this size."""


def partition_number(text: str, partitions: int) -> int:
    """Return the number of a partition in a path.

    Raises:
        HTTPError: 404 if there is no such partition.
    """
    if text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < partitions:
        return int(text)
    raise HTTPError(404, "not_found", f"partitions are numbered from 0 to {partitions - 1}")


def page_of(context: RequestContext, *others: str) -> tuple[str | None, int]:
    """Return `after` and `limit` of a listing of ids, which has `others` as well."""
    parameters = context.parameters("after", "limit", *others)
    after = parameters.get("after")
    if after is not None:
        id_of("after", after)
    return after, integer(parameters, "limit", DEFAULT_PAGE, 1, MAX_PAGE)
