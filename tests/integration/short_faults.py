"""The most telling faults, on real brokers and workers; `make faults` does all of them.

A system for each would start brokers and workers five times, so four of them follow each other on
one. Limits are generous: what is judged is what was lost, not how fast the machine is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from streams.lab.faults.catalogue import Fault
from streams.lab.faults.choosing import choose
from streams.lab.faults.harness import FaultHarness
from streams.lab.faults.suite import FaultSuite
from streams.lab.faults.table import details, line

SEED = 4

ALONE = "kill-at-database"
"""Alone, since partitions of the other worker must make progress all the time."""
IN_TURN = ("zombie-at-marker", "poison", "byte-flipped", "broker-killed")


def in_turn(names: Sequence[str]) -> Fault:
    """Return a fault that makes these one after the other; all need the same system."""
    faults = [choose((name,), short=False)[0] for name in names]
    for need in ("workers", "nodes", "linked", "settings", "plan"):
        assert all(getattr(one, need) == getattr(faults[0], need) for one in faults), need

    async def act(harness: FaultHarness) -> None:
        for one in faults:
            await one.act(harness)
            await harness.until_ready()
        harness.untouched = set()  # the broker stops them all

    return Fault("in-turn", ", then ".join(names), act)


def failures_of(fault: Fault, folder: Path) -> list[str]:
    """Make a fault on a system under load; return what is wrong afterwards."""

    async def run() -> list[str]:
        async with FaultSuite(folder, SEED) as suite:
            result = await suite.run(fault)
        print(line(result))
        return [] if result.ok else [line(result), *details(result)]

    return asyncio.run(run())
