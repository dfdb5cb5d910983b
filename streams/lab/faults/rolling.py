"""Workers that run different versions: rolled from the former one to this one and back."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final

from streams.lab.faults import former
from streams.lab.faults.catalogue import Fault, fault
from streams.lab.faults.harness import FaultHarness, FaultWorker


class Versions:
    """The two versions, as environments of a worker."""

    def __init__(self, harness: FaultHarness) -> None:
        self._harness = harness
        # The fault's `prepare` has put the former version into the environment of all workers.
        self._former = {
            name: harness.workers[0].environment[name] for name in ("PYTHONPATH", "PYTHONSAFEPATH")
        }

    async def roll(self, to_former: bool, number: signal.Signals, *workers: FaultWorker) -> None:
        """End workers by a signal, start them with a version, and wait until all is ready.

        A worker that is killed leaves records folded, but not checkpointed: what it starts with
        folds them again.
        """
        harness = self._harness
        await asyncio.gather(*(harness.end(worker, number) for worker in workers))
        for worker in workers:
            if to_former:
                worker.environment |= self._former
            else:
                for name in self._former:
                    worker.environment.pop(name, None)
            harness.begin(worker)
        await harness.until_ready(1.0)


def _former(folder: Path) -> dict[str, str]:
    return former.environment(folder)


@fault(
    "roll",
    "workers of the former version are replaced by this one, one by one, and back, and killed",
    prepare=_former,
    needs=former.missing,
    mix=False,
)
async def roll(harness: FaultHarness) -> None:
    """Every way from one version to the other, by a stop and by a kill."""
    versions = Versions(harness)
    first, second = harness.workers
    for to_former in (False, True, False):
        await versions.roll(to_former, signal.SIGKILL, first)
        await versions.roll(to_former, signal.SIGTERM, second)
        # And with the version that they have, while the other's outputs are still in the log
        await versions.roll(to_former, signal.SIGKILL, second)


async def _roll_short(harness: FaultHarness) -> None:
    versions = Versions(harness)
    first, second = harness.workers
    await versions.roll(False, signal.SIGKILL, first)
    await versions.roll(True, signal.SIGKILL, first)
    await versions.roll(False, signal.SIGKILL, first, second)


SHORT: Final = Fault(
    "roll-short",
    "a worker goes from the former version to this one, back, and on with the other, by kills",
    _roll_short,
    prepare=_former,
    needs=former.missing,
)
"""The same in less time, for `make test`."""
