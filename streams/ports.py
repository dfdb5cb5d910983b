"""Finds free ports of this machine, and keeps two processes from choosing the same one.

A port that was found free can be taken by another process before a server listens on it. A
process that takes ports through this module therefore holds a lock on a small file for each of
them until it ends, and passes over ports that others hold.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from streams.errors import StreamsError

PRIVATE: Final = range(20_000, 32_000)
"""Where a port is searched when nobody asked for a particular one.

Below the range that kernels use for outgoing connections, so that a server that restarts finds
its port still free.
"""

_held: Final[dict[int, int]] = {}
"""The ports that this process holds, each with the descriptor of its lock file."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen on the port now.

    Raises:
        StreamsError: the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise StreamsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return True


def hold(port: int, host: str = "127.0.0.1") -> bool:
    """Hold a port until this process ends; return False if another process uses or holds it."""
    if port in _held:
        return True
    lock = _lock(port)
    if lock is None:
        return False
    if not is_free(port, host):
        os.close(lock)
        return False
    _held[port] = lock
    return True


def release(ports: Iterable[int]) -> None:
    """Let other processes have ports that this one holds."""
    for port in ports:
        lock = _held.pop(port, None)
        if lock is not None:
            os.close(lock)


def free_ports(host: str, first: int, count: int) -> list[int]:
    """Hold `count` ports from `first` upwards, and return them.

    Raises:
        StreamsError: there are not that many.
    """
    return _find(host, range(first, 65_536), count)


def private_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Hold `count` ports that nobody asked for in particular, and return them.

    Raises:
        StreamsError: there are not that many.
    """
    return _find(host, random.sample(PRIVATE, len(PRIVATE)), count)


def taken(port: int, host: str, variable: str = "STREAMS_HTTP_PORT") -> str:
    """Return the error for a worker's port, set by `variable`, that another process uses."""
    return f"port {port} of {host} is taken: stop what listens there, or set {variable}"


def _find(host: str, candidates: Iterable[int], count: int) -> list[int]:
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if port not in _held and hold(port, host):
            found.append(port)
    if len(found) < count:
        release(found)
        raise StreamsError(f"fewer than {count} ports are free on {host}")
    return found


def _lock(port: int) -> int | None:
    """Return the descriptor of the port's lock file, or None if another process has the lock."""
    folder = Path(tempfile.gettempdir()) / f"streams-ports-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StreamsError(
            f"cannot use folder {folder}, which keeps two commands from one port: "
            f"{error.strerror}; delete it, or set TMPDIR"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
