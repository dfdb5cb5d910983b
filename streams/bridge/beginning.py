"""Where a bridge begins in each partition of the other site's log.

It goes on at the kept place.  Where there is none, or where the other site has no records at
it, only a person can say what shall happen: one choice sends old messages again to everybody,
and the other leaves some out.  Pure.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.errors import StreamsError

logger = logging.getLogger("streams.bridge")

START: Final = "start"
"""Begin at the oldest record that the other site has."""
NOW: Final = "now"
"""Begin with what is published from now on."""
BEGINNINGS: Final = (START, NOW)


class Bounds(NamedTuple):
    """The offsets of a partition's first record, and of the next one to be committed."""

    low: int
    high: int


class NoPlace(StreamsError):
    """It is not known where to begin; the message says what to do."""


def beginnings(
    site: str, kept: Mapping[int, int], bounds: Mapping[int, Bounds], chosen: str | None
) -> dict[int, int]:
    """Return the first offset to read, by partition of the other site's log.

    Args:
        site: name of the other site.
        kept: the kept places.
        bounds: what each partition has.
        chosen: one of `BEGINNINGS`, for partitions whose place is missing or gone.

    Raises:
        NoPlace: there is such a partition, and nothing was chosen.
    """
    found = {}
    for number, (low, high) in bounds.items():
        place = kept.get(number)
        if place is not None and low <= place <= high:
            found[number] = place
            continue
        what = _problem(site, number, place, low, high)
        if chosen is None:
            raise NoPlace(f"{what}: choose with --from start or --from now where to begin")
        found[number] = low if chosen == START else high
        if place is not None:
            logger.warning("%s: going on at offset %d", what, found[number])
    return found


def _problem(site: str, number: int, place: int | None, low: int, high: int) -> str:
    where = f"partition {number} of site {site}"
    if place is None:
        return f"{where} has no kept place"
    if place < low:
        return (
            f"{where} no longer has the records from offset {place} to {low - 1}, which were not "
            "copied before its retention removed them"
        )
    return f"{where} ends at offset {high}, before the kept place {place}: it has lost records"
