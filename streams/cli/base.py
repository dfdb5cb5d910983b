"""The base of all commands, and how they end.

The commands are in a group of their own, `ours`, which loads neither the app nor Faust, so they
start fast.  `streams.cli.commands` adds them to Faust's command line, so `streams tail` and
`faust -A streams.app tail` do the same.  An error that the user can fix is one line on stderr and
exit code 1, or 3 if Kafka or a worker cannot be reached; a stack trace means a bug.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NoReturn

import click

from streams.cli.output import ReaderGone, outputs
from streams.errors import StreamsError, Unavailable

UNREACHABLE = 3
"""Exit code when a worker or Kafka does not answer, or not in time."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, by the convention of shells."""


ours: Final = click.Group("streams")
"""Every command of this package."""

option = partial(click.option, show_default=True)
argument = click.argument


def json_wanted(context: click.Context) -> bool:
    """Return whether Faust's option --json was given before the command."""
    return bool(context.find_root().params.get("json"))


class StreamsCommand:
    """A command; a subclass has its name and its help, and implements `execute_now`."""

    options: Any = ()

    def __init_subclass__(cls) -> None:
        """Register the command."""

        def run(context: click.Context, /, **given: Any) -> NoReturn:
            cls(context, given)()

        command = ours.command(cls.__name__, help=cls.__doc__)(click.pass_context(run))
        for one in cls.options:
            one(command)

    def __init__(self, context: click.Context, given: dict[str, Any]) -> None:
        self.json = json_wanted(context)
        self._given = given

    def execute_now(self, *args: Any, **options: Any) -> int:
        """Run the command; return the exit code."""
        raise NotImplementedError

    def __call__(self) -> NoReturn:
        """Run the command and exit with its exit code."""
        with stopped_by_signals():
            code = exit_code(lambda: self.execute_now(**self._given))
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
