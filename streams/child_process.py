"""Child processes that end with their parent, even if it is killed.

Between the parent and the program stands a short script (`child_watch.py`), which leaves a
watcher behind and becomes the program; so the program has the process id that the parent knows.
The watcher reads from a pipe whose other end only the parent has. When the parent is gone, the
pipe ends, and the watcher stops the program: by SIGTERM, and by SIGKILL if it is still there
after `KILL_SECONDS`. This needs no help of the kernel beyond pipes, and it does not depend on
the thread that started the child.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

KILL_SECONDS: Final = 20.0
"""How long a program may take to stop after the death of its parent before it is killed."""

_WATCH: Final = Path(__file__).with_name("child_watch.py")

_tie: tuple[int, int] | None = None
"""The pipe of this process: the end that watchers read, and the end that only this process has."""
_tie_owner = 0


def start(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program that ends with this process, in a session of its own.

    Ctrl-C in a terminal therefore reaches only this process, which stops its children in the
    right order.

    Args:
        command: the program, as an absolute path or to be found in PATH, and its arguments.
        output: where its output and its errors go.
        env: its environment; by default that of this process.
        folder: its working directory; by default that of this process.
        pass_fds: descriptors that the program inherits. The watcher does not keep them.
    """
    tie = _parents_tie()
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_WATCH), str(tie), str(KILL_SECONDS), *command],
        env=None if env is None else dict(env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=[tie, *pass_fds],
    )


def _parents_tie() -> int:
    """Return the end of this process's pipe that watchers read; it is made once."""
    global _tie, _tie_owner
    if _tie is None or _tie_owner != os.getpid():
        _tie, _tie_owner = os.pipe(), os.getpid()
    return _tie[0]
