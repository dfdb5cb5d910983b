"""Commands whose output refuses: characters, readers, disks, and no output at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "from streams.cli import main; main()"
# A command that prints much, in the way that all of them do.
MUCH = """
import sys, click
from streams.cli.base import exit_code

def run() -> int:
    for _ in range(20_000):
        click.echo("a line, \\N{GRINNING FACE}, and a lone \\udc80")
    return 0

sys.exit(exit_code(run))
"""
FULL = Path("/dev/full")


def environment(encoding: str) -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": encoding}


@pytest.mark.parametrize(
    ("encoding", "face"),
    [("latin-1", b"\\U0001f600"), ("ascii", b"?"), ("utf-8", "\N{GRINNING FACE}".encode())],
)
def test_a_character_that_the_output_lacks_is_no_error(encoding: str, face: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MUCH], capture_output=True, env=environment(encoding), check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.splitlines()
    assert len(lines) == 20_000
    assert face in lines[-1] or b"\\U0001f600" in lines[-1]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MUCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [("-c", MUCH), ("-c", MAIN, "--help")])
def test_a_full_disk_is_an_error_of_one_line(arguments: tuple[str, ...]) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, *arguments], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.stderr == b"streams: cannot write to standard output: No space left on device\n"
    assert done.returncode == 1


def test_a_closed_output_is_an_error_of_one_line() -> None:
    command = f"exec {sys.executable} -c '{MAIN}' --help >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False)
    assert done.stderr == b"streams: cannot write to standard output: Bad file descriptor\n"
    assert done.returncode == 1


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_errors_that_nobody_can_read_leave_the_exit_code(closed: str) -> None:
    command = f"exec {sys.executable} -c '{MAIN}' bind a b --nonsense {closed}"
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_argument_in_utf8_is_one_in_any_locale() -> None:
    # Given a locale whose characters are those of ASCII, and an id outside of it
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", MAIN, "read", "grün", "--url", "grün"]
    # When a command names it
    done = subprocess.run(
        command, env={**os.environ, **ascii_only}, capture_output=True, check=False
    )
    # Then it is understood
    assert done.returncode == 2
    assert "'grün' is not the URL of a worker".encode() in done.stderr
