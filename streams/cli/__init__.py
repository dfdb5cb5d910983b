"""The command line: Faust's own commands for our app, and those of this package.

`streams X` and `faust -A streams.app X` do the same: importing `streams.cli.commands` registers
our commands with Faust's command line, and `streams.app` imports it for that reason alone.  A
command imports what it needs only when it runs.

This module imports neither Faust nor click, so that the `streams` command of a client-only
installation can say what to install.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from streams.cli.output import OutputError, ReaderGone, outputs


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `streams.app` as the app; never returns."""
    try:
        from streams.cli.commands import cli
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
                args=[_as_utf8(one) for one in (sys.argv[1:] if arguments is None else arguments)],
                prog_name="streams",
                # As if -A streams.app were given, but only commands that need the app import it.
                default_map={"app": "streams.app"},
            )
    except ReaderGone:
        sys.exit(0)
    except OutputError as error:
        sys.exit(f"streams: {error}")


def _as_utf8(argument: str) -> str:
    """Return an argument as the UTF-8 text that it is, whatever the locale takes it for."""
    raw = argument.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape")
