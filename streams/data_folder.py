"""A lock that gives a data folder to one process at a time, and names that process.

The owner locks a file in the folder that holds its process id. The kernel releases the lock
when the owner ends for any reason, so a stale lock cannot exist.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import Final, Self

from streams.child_process import KILL_SECONDS
from streams.errors import StreamsError

LOCK: Final = "process.lock"
"""Name of the lock file in the folder."""

ENDING_SECONDS: Final = KILL_SECONDS + 10
"""How long the children of a process that has died may take to end."""


class FolderInUse(StreamsError):
    """Another live process uses the folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.folder = folder
        self.pid = pid
        process = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"folder {folder} is used by {process}: stop it, or choose another data folder"
        )


class DataFolder:
    """The lock on a folder; a context manager that takes and releases it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._lock: int | None = None

    @property
    def descriptor(self) -> int:
        """The descriptor of the lock file, for a child process that is to hold the lock too."""
        if self._lock is None:
            raise RuntimeError(f"{self.folder} is not locked")
        return self._lock

    def take(self, seconds: float = 0.0) -> None:
        """Take the lock; create the folder if it is missing.

        If the process that took the lock has ended, its watchers are about to stop the children
        that still hold it (see `child_process`): wait for them.

        Args:
            seconds: how long to wait for another process that uses the folder.

        Raises:
            FolderInUse: another process still uses the folder.
            StreamsError: the folder or the lock file cannot be created.
        """
        if self._lock is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StreamsError(f"cannot use folder {self.folder}: {error.strerror}") from error
        since = time.monotonic()
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pid = _pid(lock)
                patience = seconds if pid is None or _lives(pid) else max(seconds, ENDING_SECONDS)
                if time.monotonic() >= since + patience:
                    os.close(lock)
                    raise FolderInUse(self.folder, pid) from None
                time.sleep(0.05)
            except OSError as error:
                os.close(lock)
                raise StreamsError(f"cannot lock {self.folder}: {error.strerror}") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def empty(self) -> None:
        """Delete everything in the folder but the lock, which must be held.

        Raises:
            StreamsError: something cannot be deleted.
        """
        for entry in self.folder.iterdir():
            if entry.name == LOCK:
                continue
            try:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            except OSError as error:
                raise StreamsError(f"cannot delete {entry}: {error.strerror}") from error

    def give_up(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.give_up()


def owner(folder: Path) -> int | None:
    """Return the id of the process that uses the folder, None if there is none.

    It takes the lock for an instant; a process that tries to take it just then has to retry.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(lock) or 0
    finally:
        os.close(lock)
    return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _pid(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None
