"""The most telling faults, on real brokers and workers; `make faults` does all of them.

Limits are generous: what is judged is what was lost, not how fast the machine is.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streams.lab.faults.choosing import choose
from streams.lab.faults.suite import FaultSuite
from streams.lab.faults.table import details, line

SEED = 4


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path) -> None:
    async def run() -> list[str]:
        failed = []
        async with FaultSuite(tmp_path / "faults", SEED) as suite:
            for fault in choose((), short=True):
                result = await suite.run(fault)
                print(line(result))
                if not result.ok:
                    failed += [line(result), *details(result)]
        return failed

    # Given a system under load, When one fault after the other is made
    # Then every invariant holds after each of them
    assert asyncio.run(run()) == []
