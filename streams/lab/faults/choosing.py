"""Selects the faults of a run."""

from __future__ import annotations

from collections.abc import Sequence

from streams.errors import StreamsError
from streams.lab.faults import (
    amqp_clients,
    crowding,
    disks,
    freezing,
    hanging,
    hostility,
    killing,
    outages,
    pressure,
    rolling,
    starving,
)
from streams.lab.faults.catalogue import FAULTS, Fault

_MODULES = (
    killing,
    outages,
    disks,
    hostility,
    pressure,
    hanging,
    crowding,
    freezing,
    starving,
    rolling,
    amqp_clients,
)
"""Importing these modules fills the catalogue."""


def choose(names: Sequence[str], *, short: bool) -> list[Fault]:
    """Return the named faults; without names, all of them or the short selection.

    Raises:
        StreamsError: there is no fault of that name.
    """
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise StreamsError(f"unknown fault {unknown[0]}; known faults: {', '.join(FAULTS)}")
    if names:
        return [FAULTS[name] for name in names]
    return [fault for fault in FAULTS.values() if fault.short or not short]
