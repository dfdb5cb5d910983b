"""The query parameters that listings and inboxes share."""

from __future__ import annotations

from streams.folds.packing import SEQS_PER_RECORD
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import bad_request
from streams.gateway.http.fields import id_of
from streams.gateway.http.paths import integer
from streams.gateway.ports import Partition

MAX_PAGE = 1000
DEFAULT_PAGE = 100
MAX_WAIT_SECONDS = 60.0
"""Longest wait for a first message."""
MOST_AHEAD = 100_000_000
"""Records by which a seq may be ahead of what this worker has folded."""


def page_of(context: RequestContext) -> tuple[str | None, int]:
    """Return `after` and `limit` of a listing of ids."""
    parameters = context.parameters("after", "limit")
    after = parameters.get("after")
    if after is not None:
        id_of("after", after)
    return after, integer(parameters, "limit", DEFAULT_PAGE, 1, MAX_PAGE)


def check_seq(name: str, seq: int, partition: Partition) -> None:
    """Refuse a seq that no delivery can have had, such as a time in milliseconds.

    The owner of a partition may be behind the one that sent the seq, but never that far.

    Raises:
        HTTPError: 400, naming the parameter.
    """
    if seq // SEQS_PER_RECORD > partition.position + MOST_AHEAD:
        raise bad_request(
            "bad_parameter",
            f"{name} is {seq}, far beyond the seqs of this queue; it must be the `seq` of a "
            "delivery, not a time",
        )
