"""Kafka's classes as Java has loaded them, kept so that later starts take half the processor time.

Java's archive of class data fits one Java and one set of jars. The first start of a Kafka lists
the classes that it loads; then a process of low priority makes the archive of them, beside the
jars, and nobody waits for it. Kafka starts without an archive, too: if it cannot be made, a file
says why, and nobody tries again.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from streams import child_process
from streams.kafka.embedded.jars import KAFKA_VERSION, cache, jars, java

KEPT: Final = 4
"""How many archives stay: each virtual environment has a Java of its own."""
_LOW_PRIORITY: Final = ("nice", "-n", "10")


def archive() -> Path:
    """Return where the archive of this Java and these jars is, or would be.

    Raises:
        BrokerError: Java or the jars are missing.
    """
    modules = java().parents[1] / "lib" / "modules"
    parts = [part for part in (java(), modules, *jars()) if part.exists()]
    # Java refuses an archive if the time of one of these files is another one.
    text = "\n".join(f"{part} {part.stat().st_mtime_ns}" for part in parts)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return cache() / f"kafka-{KAFKA_VERSION}-classes" / f"{name}.jsa"


def options() -> list[str]:
    """Return the options with which Java uses the archive; none if there is no archive."""
    path = archive()
    return [f"-XX:SharedArchiveFile={path}"] if path.exists() else []


def listing(path: Path) -> list[str]:
    """Return the options with which Java lists its classes in a file; none if nobody needs them."""
    made = archive()
    needed = not made.exists() and not _reason(made).exists()
    return [f"-XX:DumpLoadedClassList={path}"] if needed else []


def make(classes: Path, command: Sequence[str]) -> threading.Thread | None:
    """Make the archive in the background; return the thread that does, None if nothing is to do.

    Args:
        classes: the list of classes. It may grow meanwhile.
        command: starts Kafka's main class. Its options become those of the archive.
    """
    path = archive()
    if path.exists() or _reason(path).exists() or not classes.exists():
        return None
    thread = threading.Thread(
        target=_make, args=(path, classes, command), name="class-archive", daemon=True
    )
    thread.start()
    return thread


def _reason(path: Path) -> Path:
    """Return the file that says why there is no archive."""
    return path.with_suffix(".failed")


def _make(path: Path, classes: Path, command: Sequence[str]) -> None:
    with suppress(OSError, BlockingIOError):  # no room, no right, or another process makes it
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return
            for left in path.parent.glob(f"{path.stem}-*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.stem}-") as aside:
                _dump(path, classes, command, Path(aside))


def _dump(path: Path, classes: Path, command: Sequence[str], aside: Path) -> None:
    seen, made, log = aside / "seen", aside / "made.jsa", aside / "log"
    shutil.copyfile(classes, seen)
    dump = ("-Xshare:dump", f"-XX:SharedClassListFile={seen}", f"-XX:SharedArchiveFile={made}")
    with log.open("wb") as output:
        code = child_process.start(
            [*_LOW_PRIORITY, command[0], *dump, *command[1:]], output=output
        ).wait()
    if code == 0:
        made.rename(path)
        _forget_old(path.parent)
    elif code > 0:  # otherwise it was ended, with this process for example
        _reason(path).write_bytes(log.read_bytes()[-10_000:])


def _forget_old(folder: Path) -> None:
    archives = sorted(folder.glob("*.jsa"), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in archives[KEPT:]:
        old.unlink(missing_ok=True)
