"""The command line: Faust's own commands for our app, and those of this package.

`streams X` and `faust -A streams.app X` do the same: importing `streams.cli.commands` adds our
commands to Faust's command line, and `streams.app` imports it for that reason alone.  A command
imports what it needs only when it runs; if `streams` begins with one of ours, Faust is not
imported, which takes longer than most commands.

This module imports neither Faust nor click, so that the `streams` command of a client-only
installation can say what to install.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streams.cli.output import OutputError, ReaderGone, outputs

if TYPE_CHECKING:
    import click


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `streams.app` as the app; never returns."""
    given = [_as_utf8(one) for one in (sys.argv[1:] if arguments is None else arguments)]
    try:
        cli = _command_line(given)
    except ModuleNotFoundError as error:
        missing = (error.name or "streams").partition(".")[0]
        if missing == "streams":  # a fault of ours, not of the installation
            raise
        sys.exit(
            f"streams: the command line needs {missing}, which is not installed;"
            " install it with: pip install 'group-streams[worker]'"
        )
    try:
        with outputs():
            cli(
                args=given,
                prog_name="streams",
                # As if -A streams.app were given, but only commands that need the app import it.
                default_map={"app": "streams.app"},
            )
    except ReaderGone:
        sys.exit(0)
    except OutputError as error:
        sys.exit(f"streams: {error}")


def _command_line(arguments: Sequence[str]) -> click.Group:
    """Return our commands alone if one of them is the first argument, else all of them.

    Raises:
        ModuleNotFoundError: a package is missing.
    """
    from streams.cli.own_commands import ours

    if arguments and arguments[0] in ours.commands:
        if not _is_installed("faust"):  # a worker, which some of them start, needs it
            raise ModuleNotFoundError("Faust is not installed", name="faust")
        return ours
    from streams.cli.commands import cli

    return cli


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # it is there, and has no specification
        return package in sys.modules and sys.modules[package] is not None


def _as_utf8(argument: str) -> str:
    """Return an argument as the UTF-8 text that it is, whatever the locale takes it for."""
    raw = argument.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape")
