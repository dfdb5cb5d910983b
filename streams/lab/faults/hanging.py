"""Workers that live and do nothing: each must notice, say so, and end itself."""

from __future__ import annotations

import time

from streams.lab.faults.catalogue import fault
from streams.lab.faults.scene import Scene

PATIENCE_SECONDS = 8
"""How long the watchdog waits here; in earnest it waits for longer than a rebalance takes."""
END_SECONDS = 60.0


async def _hang(scene: Scene, step: str, word: str) -> None:
    worker = scene.workers[0]
    scene.touch(worker)
    ends = len(worker.exit_codes)
    worker.set_trap("*/*", step, "hang")
    await scene.until_sprung(worker)
    began = time.monotonic()
    seen_unready = False

    def ended() -> bool:
        nonlocal seen_unready
        seen_unready |= not scene.watch.sights[worker.url].ready
        return len(worker.exit_codes) > ends

    await scene.until(ended, END_SECONDS, "it does not end itself")
    scene.notes.append(f"ended itself after {time.monotonic() - began:.0f} s")
    scene.expect(worker.exit_codes[-1] > 0, f"it ended with {scene.say_ends(worker)}")
    scene.expect(seen_unready, "it was ready to its end")
    scene.expect(word in scene.log_text(worker), f"its log does not say {word!r}")
    await scene.until_ready(0.5)
    others = [other.name for other in scene.workers[1:] if other.exit_codes]
    scene.expect(not others, f"{others} ended too")


_IMPATIENT = {"FAULTS_PATIENCE": str(PATIENCE_SECONDS)}


@fault(
    "hang-thread",
    "a thread of a checkpoint hangs for ever",
    settings=_IMPATIENT,
    mix=False,
    ends_itself=True,
)
async def hang_thread(scene: Scene) -> None:
    """The event loop goes on, the checkpoint does not."""
    await _hang(scene, "database", "stuck")


@fault(
    "hang-loop", "the event loop hangs for ever", settings=_IMPATIENT, mix=False, ends_itself=True
)
async def hang_loop(scene: Scene) -> None:
    """Nothing in the loop can notice; a thread does."""
    await _hang(scene, "outputs", "event loop has stood still")
