"""The command line: Faust's own commands for our app, and those of this package.

`streams X` and `faust -A streams.app X` are the same: importing this package registers its
commands with Faust's command line, which is all that `streams.app` does with it.  What a
command does is imported only when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from faust.cli.faust import cli

from streams.commands.bench import bench
from streams.commands.bindings import bind, members, unbind
from streams.commands.broker import broker
from streams.commands.demo import demo
from streams.commands.faults import faults
from streams.commands.inbox import acknowledge, read
from streams.commands.inspect import inspect
from streams.commands.leases import lease, nack
from streams.commands.messages import events, publish
from streams.commands.past import history
from streams.commands.queues import erase, queue
from streams.commands.replay import replay
from streams.commands.run import run
from streams.commands.sessions import session
from streams.commands.status import cluster
from streams.commands.tail import tail
from streams.commands.token import token
from streams.commands.topics import topics
from streams.commands.up import up
from streams.commands.verify import verify
from streams.commands.worker import worker

__all__ = [
    "acknowledge",
    "bench",
    "bind",
    "broker",
    "cluster",
    "demo",
    "erase",
    "events",
    "faults",
    "history",
    "inspect",
    "lease",
    "main",
    "members",
    "nack",
    "publish",
    "queue",
    "read",
    "replay",
    "run",
    "session",
    "tail",
    "token",
    "topics",
    "unbind",
    "up",
    "verify",
    "worker",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `streams.app` as the app; never returns."""
    cli(
        args=None if arguments is None else list(arguments),
        prog_name="streams",
        # As if -A streams.app had been given, but imported by commands that need it alone.
        default_map={"app": "streams.app"},
    )
