"""The most telling faults, on real brokers and workers; `make faults` does all of them.

They are spread over modules, so that several processes share them. Limits are generous: what is
judged is what was lost, not how fast the machine is.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from streams.lab.faults.catalogue import Fault
from streams.lab.faults.choosing import choose
from streams.lab.faults.suite import FaultSuite
from streams.lab.faults.table import details, line

SEED = 4

OF_WORKERS = ("kill-at-database", "zombie-at-marker")
OF_BROKERS = ("broker-killed",)
OF_DATA = ("byte-flipped", "poison")


def failures(name: str, folder: Path) -> list[str]:
    """Make one fault on a system under load; return what is wrong afterwards."""
    (fault,) = choose((name,), short=False)
    return failures_of(fault, folder)


def failures_of(fault: Fault, folder: Path) -> list[str]:
    """Make a fault on a system under load; return what is wrong afterwards."""

    async def run() -> list[str]:
        async with FaultSuite(folder, SEED) as suite:
            result = await suite.run(fault)
        print(line(result))
        return [] if result.ok else [line(result), *details(result)]

    return asyncio.run(run())
