"""Local state that is lost, damaged, or out of disk space."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from streams.lab.faults.catalogue import fault
from streams.lab.faults.harness import FaultHarness, FaultWorker

REBUILT = "rebuilding from the changelog"
"""The worker's log text when it discards local state."""
TMPFS_MIB = 48
FULL_SECONDS = 6.0


def _databases(worker: FaultWorker) -> list[Path]:
    return sorted(worker.folder.glob("tables/*/*.db"))


@fault("data-deleted", "a running worker loses its data folder and is then killed")
async def data_deleted(harness: FaultHarness) -> None:
    """The files that the worker holds open are deleted too."""
    worker = harness.workers[0]
    harness.touch(worker)
    shutil.rmtree(worker.folder, ignore_errors=True)
    await asyncio.sleep(2)
    worker.signal(signal.SIGKILL)
    await harness.until_ready(1.0)


KINDS = ("*.sst", "*.log", "MANIFEST-*", "CURRENT")
"""Kinds of files to damage: a different one in each database."""


def _victims(worker: FaultWorker) -> Iterator[Path]:
    """Choose one file of each database, the largest of a kind."""
    for number, database in enumerate(_databases(worker)):
        for kind in (KINDS[number % len(KINDS)], "MANIFEST-*"):
            files = sorted(database.glob(kind), key=lambda file: file.stat().st_size)
            if files and files[-1].stat().st_size:
                yield files[-1]
                break


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


async def _damage(harness: FaultHarness, how: object) -> None:
    """Damage a file of each database of one worker: after a clean stop, and after a kill."""
    assert callable(how)
    worker = harness.workers[0]
    for number in (signal.SIGTERM, signal.SIGKILL):
        harness.touch(worker)
        before = harness.log_text(worker).count(REBUILT)
        await harness.end(worker, number)
        victims = list(_victims(worker))
        for victim in victims:
            how(victim)
        harness.begin(worker)
        await harness.until_ready(0.5)
        await asyncio.sleep(3)
        rebuilt = harness.log_text(worker).count(REBUILT) - before
        names = ", ".join(victim.name for victim in victims)
        harness.notes.append(f"{number.name}: {names} damaged, {rebuilt} rebuilt")


@fault("file-truncated", "one RocksDB file of each database is truncated", mix=False)
async def file_truncated(harness: FaultHarness) -> None:
    """As after a full disk or a bad file system."""
    await _damage(harness, _truncate)


@fault(
    "byte-flipped", "one byte of a RocksDB file of each database is flipped", short=True, mix=False
)
async def byte_flipped(harness: FaultHarness) -> None:
    """As after a bad disk."""
    await _damage(harness, _flip)


def _cannot_mount() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
            capture_output=True,
            check=False,
        )
        if tried.returncode:
            return "mount is not permitted"
        subprocess.run(["umount", folder], check=True)
    return None


@fault("disk-full", "the disk of one worker is full for a while", needs=_cannot_mount, mix=False)
async def disk_full(harness: FaultHarness) -> None:
    """On a small file system that another file fills up."""
    worker = harness.workers[0]
    harness.touch(worker)
    await harness.end(worker, signal.SIGTERM)
    shutil.rmtree(worker.folder)
    worker.folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(worker.folder)]
    await asyncio.to_thread(subprocess.run, mount, check=True)
    try:
        harness.begin(worker)
        await harness.until_ready(0.5)
        ballast = worker.folder / "ballast"
        with ballast.open("wb") as file:
            try:
                while True:
                    file.write(bytes(64 * 1024))
                    file.flush()
            except OSError:
                pass
        await asyncio.sleep(FULL_SECONDS)
        ballast.unlink()
        await harness.until_ready(0.5)
        await asyncio.sleep(2)
        await harness.end(worker, signal.SIGTERM)
    finally:
        worker.held = True
        worker.signal(signal.SIGKILL)
        await asyncio.sleep(0.5)
        unmount = ["umount", "-l", str(worker.folder)]
        await asyncio.to_thread(subprocess.run, unmount, check=False)
    harness.begin(worker)
    await harness.until_ready(0.5)
