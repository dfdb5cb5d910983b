"""The base of all commands, and how they end.

The commands belong to Faust's command line, so `streams tail` and `faust -A streams.app tail`
do the same.  They load neither the app nor Faust's worker, so they start fast.  An error that
the user can fix is one line on stderr and exit code 1, or 3 if Kafka or a worker cannot be
reached; a stack trace means a bug.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from faust.cli.base import Command

from streams.cli.output import ReaderGone, outputs
from streams.errors import StreamsError, Unavailable

UNREACHABLE = 3
"""Exit code when a worker or Kafka does not answer, or not in time."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, by the convention of shells."""


class StreamsCommand(Command):
    """A command that runs without the app; subclasses implement `execute_now`."""

    options: Any = None

    def execute_now(self, *args: Any, **options: Any) -> int:
        """Run the command; return the exit code."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the command and exit with its exit code."""
        with stopped_by_signals():
            code = exit_code(lambda: self.execute_now(**self.kwargs))
        sys.exit(code)


def exit_code(run: Callable[[], int]) -> int:
    """Call `run`; turn errors into one line on stderr and an exit code."""
    try:
        with outputs():
            return run()
    except ReaderGone:
        return 0
    except StreamsError as error:
        click.echo(f"streams: {one_line(error)}", err=True)
        return UNREACHABLE if isinstance(error, Unavailable) else 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED


def stopping_signals() -> list[signal.Signals]:
    """Return the signals that stop a command; SIGHUP is one unless `nohup` has it ignored."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hang_up]


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt, once: what runs is stopped cleanly.

    A second one does nothing, so that it cannot cut the stopping short. SIGHUP comes when the
    terminal is closed; a command under `nohup` goes on.
    """
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in stopping_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def one_line(error: BaseException) -> str:
    """Return the text of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
