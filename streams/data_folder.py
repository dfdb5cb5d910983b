"""A lock that gives a data folder to one process at a time, and names that process.

The owner locks the folder itself, and writes its process id to a file in it. The kernel releases
the lock when the owner ends for any reason, so a stale lock cannot exist. Deleting the file does
not release the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from streams.child_process import KILL_SECONDS
from streams.errors import StreamsError

LOCK: Final = "process.lock"
"""Name of the file with the ids of the processes that use the folder: the owner is first."""

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
        self._sharing: set[int] = set()

    @property
    def descriptor(self) -> int:
        """The descriptor of the lock, for a child process that is to hold the lock too."""
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
            StreamsError: the folder or the file cannot be created.
        """
        if self._lock is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StreamsError(f"cannot use folder {self.folder}: {error.strerror}") from error
        since = time.monotonic()
        while True:
            try:
                self._lock = _lock(self.folder, fcntl.LOCK_EX)
                self._write()
                break
            except BlockingIOError:
                pids = _pids(self.folder)
                dead = bool(pids) and not _lives(pids[0])
                patience = max(seconds, ENDING_SECONDS) if dead else seconds
                if time.monotonic() >= since + patience:
                    raise FolderInUse(self.folder, _living(pids)) from None
                time.sleep(0.05)
            except OSError as error:
                self.give_up()
                raise StreamsError(f"cannot lock {self.folder}: {error.strerror}") from error

    def shared_with(self, pids: Iterable[int | None]) -> None:
        """Note the child processes that hold the lock too, so that others can name them."""
        self._sharing.update(pid for pid in pids if pid is not None)
        self._write()

    def _write(self) -> None:
        pids = [os.getpid(), *sorted(self._sharing)]
        text = "".join(f"{pid}\n" for pid in pids).encode()
        file = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # In this order, so that a reader always finds the owner.
            os.pwrite(file, text, 0)
            os.ftruncate(file, len(text))
        finally:
            os.close(file)

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


def utf8(path: Path) -> str:
    """Return a path as a program takes it that reads names of files as UTF-8, as Java does.

    Python's own `str` follows the locale.

    Raises:
        StreamsError: the path is not UTF-8.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        name = os.fsencode(path).decode(errors="backslashreplace")
        raise StreamsError(
            f"cannot use folder {name}: its name is not UTF-8; choose another data folder"
        ) from None


def owner(folder: Path) -> int | None:
    """Return the id of the process that uses the folder, None if there is none.

    It takes the lock for an instant; a process that tries to take it just then has to retry.
    """
    try:
        os.close(_lock(folder, fcntl.LOCK_SH))
    except BlockingIOError:
        return _living(_pids(folder)) or 0
    except OSError:
        pass
    return None


def _lock(folder: Path, how: int) -> int:
    """Lock a folder; return the descriptor that holds the lock.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the folder cannot be locked.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            # NFS locks only what is open for writing, which a folder cannot be.
            os.close(lock)
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _living(pids: list[int]) -> int | None:
    """Return the first process that is there, otherwise the owner."""
    return next((pid for pid in pids if _lives(pid)), pids[0] if pids else None)


def _pids(folder: Path) -> list[int]:
    """Return the processes that the file names."""
    try:
        words = (folder / LOCK).read_text(errors="replace").split()
    except OSError:
        return []
    return [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 10]
