"""Commands that ask a worker: what they take, how they say it, and their exit codes."""

from __future__ import annotations

import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
from click.testing import CliRunner, Result

from streams.cli.client_command import message_in_words, printable
from streams.cli.commands import cli
from streams.cli.queues import set_options
from streams.cli.times import FUTURE_TIME, POSITION, SECONDS
from streams.events.definitions import definitions


def run(*arguments: str, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=input)


@pytest.fixture
def nobody() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish", "g", "x"),
        ("bind", "g", "h", "q"),
        ("members", "g"),
        ("read", "q"),
        ("read", "q", "--follow"),
        ("lease", "q"),
        ("queue", "show", "q"),
        ("queue", "set", "q", "--max-tries", "3"),
        ("erase", "q"),
        ("session", "hold", "q"),
        ("history", "g"),
        ("replay", "g", "q"),
        ("cluster",),
    ],
)
def test_nobody_there_is_one_line_and_exit_code_3(arguments: tuple[str, ...], nobody: str) -> None:
    ended = run(*arguments, "--url", nobody, "--timeout", "0")
    assert ended.exit_code == 3, ended.output
    assert ended.stderr.count("\n") == 1
    assert f"the worker at {nobody} cannot be reached: Connection refused" in ended.stderr
    assert ended.stdout == ""


def test_an_unconfirmed_message_says_how_to_send_it_again(nobody: str) -> None:
    ended = run("publish", "g", "x", "--id", "m7", "--url", nobody, "--timeout", "0")
    assert "send it again with --id m7" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish",),
        ("publish", "g", "x", "--file", "-"),
        ("publish", "g", "x", "--header", "none"),
        ("publish", "g", "x", "--priority", "10"),
        ("publish", "g", "x", "--expires", "soon"),
        ("publish", "g", "x", "--url", "localhost:6066"),
        ("publish", "g", "x", "--url", "http://["),
        ("publish", "g", "x", "--token-file", "/no/such/file"),
        ("bind", "q"),
        ("ack", "q"),
        ("ack", "q", "1", "--upto", "2"),
        ("ack", "q", "one"),
        ("nack", "q"),
        ("nack", "q", "1", "--reject", "--delay", "5"),
        ("read", "q", "--limit", "0"),
        ("queue", "set", "q", "--overflow", "explode"),
        ("queue", "set", "q", "--unset", "colour"),
        ("queue", "frobnicate", "q"),
        ("session", "open", "q"),
        ("history", "g", "--from", "yesterday"),
        ("history", "g", "--follow", "--to", "5"),
        ("replay", "g"),
        ("replay", "--table", "members"),
        ("replay", "g", "q", "--table", "members", "--partition", "0"),
        ("replay", "--table", "members", "--partition", "0", "--to", "5m"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.exit_code == 2, ended.output
    assert "Error: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("line", ["{", "[1]", '"x"'])
def test_events_that_are_no_objects_are_not_sent(line: str) -> None:
    ended = run("events", input=f'\n{{"type":"bind","group":"g","queue":"q"}}\n{line}\n')
    assert ended.exit_code == 2
    assert "line 3 is not" in ended.stderr


def test_a_token_is_never_an_option() -> None:
    ended = run("publish", "g", "x", "--token", "secret")
    assert ended.exit_code == 2
    assert "secret" not in ended.stderr


class Recorder(BaseHTTPRequestHandler):
    """Answers a queue's summary to whoever shows the token."""

    shown: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.shown.append(self.headers["Authorization"])
        good = self.headers["Authorization"] == "Bearer good"
        content: dict[str, Any] = {"depth": 0, "groups": 0, "session": None}
        if not good:
            content = {"error": {"code": "unauthorized", "message": "no"}}
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def test_the_token_is_that_of_a_file_or_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("good\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        show = ("queue", "show", "q", "--url", f"http://127.0.0.1:{server.server_port}")
        assert run(*show).exit_code == 1
        monkeypatch.setenv("STREAMS_TOKEN", "bad")
        ended = run(*show)
        assert (ended.exit_code, ended.stderr) == (1, "streams: no\n")
        assert run(*show, "--token-file", str(file)).exit_code == 0
        monkeypatch.setenv("STREAMS_TOKEN", "good")
        assert run(*show).exit_code == 0
        server.shutdown()
    # The file stands before the environment
    assert Recorder.shown == [None, "Bearer bad", "Bearer good", "Bearer good"]


def test_overflow_has_the_values_of_the_schema() -> None:
    (overflow,) = (option for option in set_options.params if option.name == "overflow")
    assert isinstance(overflow.type, click.Choice)
    assert list(overflow.type.choices) == definitions()["Configure"].field("overflow").get("enum")


def take(kind: click.ParamType, text: str) -> Any:
    return kind.convert(text, None, None)


def test_times_are_taken_as_one_types_them() -> None:
    now = datetime.now(UTC)
    assert [take(SECONDS, text) for text in ("5", "0.5", "90s", "2m")] == [5, 0.5, 90, 120]
    assert take(POSITION, "17") == 17
    assert abs(take(POSITION, "15m") - (now - timedelta(minutes=15))) < timedelta(seconds=120)
    assert abs(take(FUTURE_TIME, "2h") - (now + timedelta(hours=2))) < timedelta(seconds=120)
    for kind in (POSITION, FUTURE_TIME):
        assert take(kind, "2026-08-20T18:00Z") == datetime(2026, 8, 20, 18, tzinfo=UTC)
        assert take(kind, "2026-08-20").tzinfo is not None
        for text in ("", "-1", "5x", "9999999d", "2026-13-01"):
            with pytest.raises(click.BadParameter):
                take(kind, text)


def test_a_message_is_one_line_whatever_stands_in_it() -> None:
    content = {
        "seq": 4097,
        "group": "lobby",
        "sender": "",
        "kind": "text",
        "headers": {},
        "body": "a\n\x1b[2Jb",
        "at": 1_500,
    }
    shown = message_in_words(content)
    assert shown == "4097 1970-01-01T00:00:01.500+00:00 lobby -: a\\n\\x1b[2Jb"
    more = {"sender": "ann", "kind": "vote", "headers": {"a": "b"}, "tries": 2, "consumer": "c"}
    assert message_in_words(content | more).endswith(
        "lobby ann (vote): a\\n\\x1b[2Jb [a=b, tries 2, consumer c]"
    )
    del content["body"], content["seq"]
    assert message_in_words(content | {"body_base64": "AA==", "offset": 3}).startswith("3 1970")
    assert printable("grüezi ж😀") == "grüezi ж😀"


def test_help_needs_no_worker_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "create_connection")
    began = time.process_time()
    for command in ("publish", "bind", "read", "lease", "queue", "session", "history", "erase"):
        assert run(command, "--help").exit_code == 0
    assert time.process_time() - began < 2
