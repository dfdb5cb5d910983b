"""`streams export` and `streams import`: a copy of a live namespace in a file, and back."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, cast

import click

from streams.amounts import counted
from streams.cli.base import exit_code, ours, stopped_by_signals
from streams.cli.output import ReaderGone
from streams.errors import StreamsError
from streams.settings import Settings

PIPE: Final = "-"


@ours.command("export")
@click.argument("file")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="PATTERN",
    help="Only bindings and message ids of such groups, as in 'team-*'. Can be repeated.",
)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="PATTERN",
    help="Only what belongs to such queues, as in 'resident-*'. Can be repeated.",
)
def export(file: str, groups: tuple[str, ...], queues: tuple[str, ...]) -> NoReturn:
    """Write a copy of the running system to FILE; `-` is standard output.

    The copy holds bindings, sessions, options of queues, inboxes, leases and timers, and the
    message ids of the last ten minutes, as of one place in each partition.  Every message that
    was confirmed before the command began is in it.  Nothing is paused.  The workers must run.

    FILE is an Avro object container, which `streams import` and other tools read.  The command
    needs disk space of about the size of both tables, in $TMPDIR.
    """

    def run() -> int:
        from streams.operate.backup.chosen import Chosen
        from streams.operate.backup.exporting import export as write
        from streams.operate.progress import say

        settings = Settings.from_env()
        with _target(file) as out, tempfile.TemporaryDirectory(prefix="streams-") as folder:
            done = write(settings, out, Chosen(groups, queues), Path(folder))
        say(f"exported {_listed(done.counts)} in {done.seconds:.1f} s")
        return 0

    _end(run)


@ours.command("import")
@click.argument("file")
def import_(file: str) -> NoReturn:
    """Fill an empty namespace with the copy in FILE; `-` is standard input.

    The namespace may have any number of partitions (STREAMS_PARTITIONS), on any Kafka; missing
    topics are created.  Its workers must be stopped, and are started afterwards.  An import that
    was broken off is repeated with the same FILE; until it has ended, workers wait.
    """

    def run() -> int:
        from streams.operate.backup.importing import import_ as read
        from streams.operate.progress import say

        settings = Settings.from_env()
        with _source(file) as source:
            done = read(settings, source)
        say(
            f"imported {_listed(done.counts)} into {counted(settings.partitions, 'partition')} "
            f"in {done.seconds:.1f} s"
        )
        return 0

    _end(run)


def _end(run: Callable[[], int]) -> NoReturn:
    with stopped_by_signals():
        code = exit_code(run)
    sys.exit(code)


@contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    """Open the file to write; it gets its name only when it is complete."""
    if file == PIPE:
        try:
            yield cast(BinaryIO, sys.stdout.buffer)
        except ReaderGone:  # it has not seen enough: half a copy is none
            raise StreamsError("the reader of the copy has gone away before its end") from None
        return
    part = Path(f"{file}.part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())  # otherwise a power failure could leave the name without content
        part.replace(file)
    except OSError as error:
        raise StreamsError(f"cannot write {file}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    if file == PIPE:
        yield cast(BinaryIO, sys.stdin.buffer)
        return
    with ExitStack() as stack:
        try:
            source = stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise StreamsError(f"cannot read {file}: {error.strerror}") from error
        yield source


_NAMES: Final = {
    "Binding": ("binding", "bindings"),
    "MessageId": ("message id", "message ids"),
    "Session": ("session", "sessions"),
    "Options": ("queue with options", "queues with options"),
    "Delivery": ("message in an inbox", "messages in inboxes"),
}


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(counted(counts.get(kind, 0), *names) for kind, names in _NAMES.items())
