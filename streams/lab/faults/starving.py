"""A machine whose processors and disk are busy with other things."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from streams import child_process
from streams.lab.faults.catalogue import fault
from streams.lab.faults.harness import FaultHarness

BUSY_LOOPS = 8
DISK_WRITERS = 2
CPU_SHARE = 0.1
"""Share of a core for all workers together, and for the broker, where it can be limited."""
PERIOD_US = 100_000
STARVED_SECONDS = 30.0
STEPS_FORWARD = 200
"""Records to be folded while it lasts."""
PATIENCE_SECONDS = 240.0

_LOOP = "while True: pass"
_WRITE = """
import os, sys
with open(sys.argv[1], "wb") as file:
    while True:
        file.seek(0)
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
"""


@fault(
    "starved",
    f"workers and broker get a tenth of a core each; {BUSY_LOOPS} busy loops and a busy disk",
    mix=False,
)
async def starved(harness: FaultHarness) -> None:
    """Everything may be slow, but nothing may stand still."""
    with ExitStack() as stack:
        for number in range(BUSY_LOOPS):
            stack.enter_context(_beside(harness, f"busy-{number}", _LOOP))
        for number in range(DISK_WRITERS):
            file = str(harness.folder / f"written-{number}")
            stack.enter_context(_beside(harness, f"writer-{number}", _WRITE, file))
        broker = [pid for node in harness.brokers.kafka.nodes if (pid := node.pid) is not None]
        workers = [worker.pid for worker in harness.workers]
        limits = [
            stack.enter_context(_cpu_limit(f"streams-{os.getpid()}-{name}", pids, CPU_SHARE))
            for name, pids in (("broker", broker), ("workers", workers))
        ]
        harness.notes.append(
            f"workers and broker had {CPU_SHARE:g} of a core each"
            if all(limits)
            else "no cgroup of the processor can be made: only processes beside"
        )
        before = sum(harness.monitor.positions().values())
        await asyncio.sleep(STARVED_SECONDS)
        took = await harness.until(
            lambda: sum(harness.monitor.positions().values()) >= before + STEPS_FORWARD,
            PATIENCE_SECONDS,
            f"starved, {STEPS_FORWARD} records are not folded",
        )
        folded = sum(harness.monitor.positions().values()) - before
        harness.notes.append(f"{folded:,} records folded in {STARVED_SECONDS + took:.0f} s")
    await harness.until_ready()


@contextmanager
def _beside(harness: FaultHarness, name: str, program: str, *arguments: str) -> Iterator[None]:
    """Run a program in a process of its own, which ends with this one at the latest."""
    with (harness.folder / f"{name}.log").open("ab") as output:
        process = child_process.start([sys.executable, "-c", program, *arguments], output=output)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _cpu_limit(name: str, pids: Sequence[int], share: float) -> Iterator[bool]:
    """Limit processes to a share of a core together; yield whether that could be done.

    Uses a control group: version 2 if it has the processor, otherwise version 1.
    """
    quota = int(share * PERIOD_US)
    ways = (
        (Path("/sys/fs/cgroup"), "cpu.max", f"{quota} {PERIOD_US}"),
        (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", str(quota)),
    )
    for root, file, value in ways:
        if not (root / "cgroup.procs").exists():  # a folder like any other
            continue
        group = root / name
        try:
            group.mkdir()
            (group / file).write_text(value)
            for pid in pids:
                (group / "cgroup.procs").write_text(str(pid))
        except OSError:
            _dissolve(group, root)
            continue
        try:
            yield True
        finally:
            _dissolve(group, root)
        return
    yield False


def _dissolve(group: Path, root: Path) -> None:
    """Give the processes of a group back to `root`, and remove the group."""
    with suppress(OSError):
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (root / "cgroup.procs").write_text(pid)
    with suppress(OSError):
        group.rmdir()
