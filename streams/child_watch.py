"""Leaves a watcher behind and becomes a program: see `child_process`.

Run as a script, `child_watch.py TIE SECONDS PROGRAM [ARGUMENT...]`, with no package imported. TIE
is the descriptor of a pipe that ends when the parent ends. The program holds the writing end of
a second pipe, by which the watcher learns that the program has ended; so it never signals a
process id that somebody else has been given since.
"""

from __future__ import annotations

import os
import select
import signal
import sys


def main() -> None:
    """Fork the watcher, then become the program."""
    tie, seconds = int(sys.argv[1]), float(sys.argv[2])
    ended, alive = os.pipe()
    closed, open_ = os.pipe()
    program = os.getpid()
    if os.fork() == 0:
        _watch(program, tie, ended, seconds)
        os._exit(0)
    os.close(tie)
    os.close(ended)
    # The watcher closes its end of this pipe once it has closed the program's files.
    os.close(open_)
    os.read(closed, 1)
    os.close(closed)
    os.set_inheritable(alive, True)
    try:
        os.execvp(sys.argv[3], sys.argv[3:])
    except OSError as error:
        print(f"cannot run {sys.argv[3]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _watch(program: int, tie: int, ended: int, seconds: float) -> None:
    """Stop the program when the pipe `tie` ends; return when the program has ended."""
    os.setsid()
    _keep_only(tie, ended)
    if ended in select.select([tie, ended], [], [])[0]:
        return
    os.kill(program, signal.SIGTERM)
    os.kill(program, signal.SIGCONT)
    if not select.select([ended], [], [], seconds)[0]:
        os.kill(program, signal.SIGKILL)


def _keep_only(*wanted: int) -> None:
    """Close all other descriptors: the program's locks and files must not outlive it here."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    start = 3
    for number in sorted(wanted):
        os.closerange(start, number)
        start = number + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


if __name__ == "__main__":
    main()
