"""`streams` is Faust's command line with more commands, and most of them start without the app."""

from __future__ import annotations

import json
import subprocess
import sys

OURS = {"broker", "demo", "inspect", "replay", "run", "tail", "topics", "up", "verify"} | {
    *("publish", "events", "bind", "unbind", "members", "read", "ack", "lease", "nack"),
    *("queue", "session", "history", "erase", "cluster"),
}

CODE = """
import json, sys
from streams.cli import main
try:
    main({arguments!r})
except SystemExit as exit:
    print(json.dumps({{"code": exit.code, "app": "streams.app" in sys.modules}}))
"""


def run(*arguments: str) -> tuple[str, dict[str, object]]:
    """Run the command line in a fresh interpreter; return its output and how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(arguments=list(arguments))],
        capture_output=True,
        text=True,
        check=True,
    )
    *output, last = done.stdout.splitlines()
    return "\n".join([*output, done.stderr]), json.loads(last)


def test_help_lists_commands_of_faust_and_ours() -> None:
    # When help is asked for
    output, ended = run("--help")
    # Then both kinds are there
    listed = {line.split()[0] for line in output.splitlines() if line.startswith("  ")}
    assert OURS | {"worker", "agents", "tables"} <= listed
    assert ended["code"] == 0


def test_commands_without_need_of_the_app_do_not_import_it() -> None:
    # When one of our commands fails at its first argument
    output, ended = run("tail", "group-events", "--since", "yesterday", "--from-beginning")
    # Then it did so without the app
    assert ended["app"] is False
    assert ended["code"] != 0
    assert "Traceback" not in output


def test_commands_that_ask_a_worker_know_neither_the_app_nor_its_kafka() -> None:
    output, ended = run("queue", "show", "q", "--url", "http://127.0.0.1:9", "--timeout", "0")
    assert (ended["code"], ended["app"]) == (3, False)
    assert "cannot be reached" in output


def test_faust_finds_the_commands_of_our_app() -> None:
    # When faust itself is asked for help with our app
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "streams.app", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    # Then it knows our commands
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert listed >= OURS
