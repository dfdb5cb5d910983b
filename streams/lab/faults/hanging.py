"""Workers that hang: each must notice, log it, and exit."""

from __future__ import annotations

import time

from streams.lab.faults.catalogue import fault
from streams.lab.faults.harness import FaultHarness

PATIENCE_SECONDS = 8
"""How long the watchdog waits here; in production it waits longer than a rebalance takes."""
END_SECONDS = 60.0


async def _hang(harness: FaultHarness, step: str, word: str) -> None:
    worker = harness.workers[0]
    harness.touch(worker)
    ends = len(worker.exit_codes)
    worker.set_trap("*/*", step, "hang")
    await harness.until_sprung(worker)
    began = time.monotonic()
    seen_unready = False

    def ended() -> bool:
        nonlocal seen_unready
        seen_unready |= not harness.monitor.views[worker.url].ready
        return len(worker.exit_codes) > ends

    await harness.until(ended, END_SECONDS, "it does not exit by itself")
    harness.notes.append(f"exited by itself after {time.monotonic() - began:.0f} s")
    harness.expect(worker.exit_codes[-1] > 0, f"it ended with {harness.say_ends(worker)}")
    harness.expect(seen_unready, "it was ready until its exit")
    harness.expect(word in harness.log_text(worker), f"its log does not say {word!r}")
    await harness.until_ready(0.5)
    others = [other.name for other in harness.workers[1:] if other.exit_codes]
    harness.expect(not others, f"{others} ended too")


_IMPATIENT = {"FAULTS_PATIENCE": str(PATIENCE_SECONDS)}


@fault(
    "hang-thread",
    "a thread of a checkpoint hangs forever",
    settings=_IMPATIENT,
    mix=False,
    ends_itself=True,
)
async def hang_thread(harness: FaultHarness) -> None:
    """The event loop runs, the checkpoint does not."""
    await _hang(harness, "database", "stuck")


@fault(
    "hang-loop", "the event loop hangs forever", settings=_IMPATIENT, mix=False, ends_itself=True
)
async def hang_loop(harness: FaultHarness) -> None:
    """Only a thread outside the loop can notice."""
    await _hang(harness, "outputs", "event loop has stood still")
