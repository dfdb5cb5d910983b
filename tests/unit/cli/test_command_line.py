"""`streams` is Faust's command line with more commands, and most of them start without the app."""

from __future__ import annotations

import json
import subprocess
import sys

from streams import __version__
from streams.cli.own_commands import LAB_COMMANDS

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
    loaded = {{"app": "streams.app" in sys.modules, "faust": "faust" in sys.modules}}
    print(json.dumps({{"code": exit.code, **loaded}}))
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
    # Then it did so without the app, and without Faust, which takes longer to import than the rest
    assert (ended["app"], ended["faust"]) == (False, False)
    assert ended["code"] != 0
    assert "Traceback" not in output


def test_commands_that_ask_a_worker_know_neither_the_app_nor_its_kafka() -> None:
    output, ended = run("queue", "show", "q", "--url", "http://127.0.0.1:9", "--timeout", "0")
    assert (ended["code"], ended["app"], ended["faust"]) == (3, False, False)
    assert "cannot be reached" in output
    # And they are the same after an option of Faust
    after, ended = run(
        "--json", "queue", "show", "q", "--url", "http://127.0.0.1:9", "--timeout", "0"
    )
    assert (ended["code"], ended["faust"]) == (3, True)
    assert after == output


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


def test_without_faust_it_says_in_one_line_what_to_install() -> None:
    code = "import sys; sys.modules['faust'] = None; from streams.cli import main; main(['run'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "faust" in done.stderr
    assert "pip install 'group-streams[worker]'" in done.stderr


def test_without_the_lab_its_commands_say_what_to_install() -> None:
    # Given an installation that has no streams.lab
    code = """
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda n, *more: None if n == "streams.lab" else find_spec(n, *more)
from streams.cli import main
main(sys.argv[1:])
"""

    def without_lab(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )

    # When its commands are asked for
    listed = without_lab("--help").stdout
    for command in LAB_COMMANDS:
        ended = without_lab(command, "--seconds", "5", "anything")
        # Then each says what to install, and help does not list it
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert f"`streams {command}`" in ended.stderr
        assert "pip install 'group-streams[lab]'" in ended.stderr
        assert f"\n  {command} " not in listed


def test_version_is_that_of_streams_and_of_faust() -> None:
    output, ended = run("--version")
    assert output.startswith(f"streams {__version__} (Faust ")
    assert ended["code"] == 0
    # It takes the place of Faust's own option
    help_text, _ = run("--help")
    assert sum(line.lstrip().startswith("--version") for line in help_text.splitlines()) == 1


def test_the_package_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streams", "ack", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Usage: streams ack")
