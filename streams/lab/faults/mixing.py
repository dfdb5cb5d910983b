"""The random mix: faults drawn from a seed, on one system, with quiet phases between."""

from __future__ import annotations

import asyncio
import random
import time

from streams.lab.faults.catalogue import FAULTS, Fault
from streams.lab.faults.harness import FaultHarness
from streams.lab.faults.killing import FOR_THREE
from streams.lab.faults.load import LoadPlan
from streams.operate.progress import say

QUIET_SECONDS = (2.0, 8.0)


def mix(minutes: float, seed: int) -> Fault:
    """Return a fault that runs random faults for the given minutes."""
    chosen = [f for f in FAULTS.values() if f.mix and f.nodes == 1]

    async def act(harness: FaultHarness) -> None:
        rng = random.Random(f"mix {seed}")
        end = time.monotonic() + 60 * minutes
        done: list[str] = []
        while time.monotonic() < end:
            fault = rng.choice(chosen)
            rng.shuffle(harness.workers)  # a fault takes the first ones
            say(f"mix: {fault.name}")
            done.append(fault.name)
            await fault.act(harness)
            await asyncio.sleep(rng.uniform(*QUIET_SECONDS))
            await harness.until_ready()
        harness.untouched = set()
        harness.notes.append(f"{len(done)} faults: {', '.join(done)}")

    return Fault(
        "mix",
        f"random faults for {minutes:g} minutes, seed {seed}",
        act,
        workers=2,
        linked=True,
        settings=FOR_THREE,
        plan=lambda seed: LoadPlan(seed, posts=15, changes=15, direct_changes=30, sessions=2),
    )
