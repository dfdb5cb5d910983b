"""Standard output and standard error of a command, in whatever state the caller left them.

An output can refuse what is written to it: its encoding lacks a character, its reader has gone
away, its disk is full, or it was closed before the command began. A character that cannot be
encoded is written as an escape. A reader that has gone away has seen enough (`streams tail x |
head`): the command ends with exit code 0. Anything else is an error of one line and exit code 1.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

from streams.errors import StreamsError

_OUT: Final = 1
_ERR: Final = 2


class ReaderGone(BaseException):
    """The reader of the output has gone away.

    No `Exception`, so that nothing between the write and the end of the command swallows it.
    """


class OutputError(StreamsError):
    """The output cannot be written, for a reason other than a reader that has gone away."""


@contextmanager
def outputs() -> Iterator[None]:
    """Write standard output and standard error through this module while the body runs.

    On leaving, everything has been written.

    Raises:
        ReaderGone: the reader of standard output has gone away.
        OutputError: standard output cannot be written.
    """
    before = sys.stdout, sys.stderr
    out = _opened(sys.stdout, _OUT)
    err = _opened(sys.stderr, _ERR)
    sys.stdout, sys.stderr = out or sys.stdout, err or sys.stderr
    try:
        try:
            yield
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    finally:
        if out is not None:
            # Drop unwritten text here; otherwise the interpreter would try to write it again.
            out.buffer.raw.silent = True  # type: ignore[attr-defined]
            out.flush()
        if err is not None:
            err.flush()
        sys.stdout, sys.stderr = before


class _Raw(io.FileIO):
    """A descriptor whose refusals are told apart from those of files and sockets."""

    def __init__(self, descriptor: int, silent: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.silent = silent
        """Whether refusals are dropped: those of standard error can be told to nobody."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self.silent:
                return len(data)
            self.silent = True
            if error.errno == errno.EPIPE:
                raise ReaderGone from None
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def _opened(stream: TextIO | None, number: int) -> io.TextIOWrapper | None:
    """Return a stream to write to the descriptor, None where something else took its place."""
    if stream is None:
        _occupy(number)
    elif _descriptor(stream) != number:
        return None
    else:
        stream.flush()
    terminal = os.isatty(number)
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(number, silent=number == _ERR)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=terminal or number == _ERR,
    )


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _occupy(number: int) -> None:
    """Put something at a closed descriptor that refuses every write.

    Otherwise the next file or socket would be given its number, and the output written there.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    if null != number:
        os.dup2(null, number)
        os.close(null)
