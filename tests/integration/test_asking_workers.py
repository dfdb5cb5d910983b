"""Every HTTP feature through the command line: two real workers, no Kafka settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from two_workers import two_workers, wait_until_ready

from streams.cli.commands import cli
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers

MAIN = "from streams.cli import main; main()"


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("asking"), "asking", 17566) as started:
        wait_until_ready(started)
        yield started


class Shell:
    """Runs commands against one worker, so that each sees the writes before it."""

    turns = count()

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.where = ["--url", urls[next(self.turns) % len(urls)], "--timeout", "120"]

    def __call__(self, *arguments: str, code: int = 0, input: str | bytes | None = None) -> str:
        """Run a command that must exit with this code; return its output."""
        ended = CliRunner().invoke(cli, [*arguments, *self.where], input=input)
        assert ended.exit_code == code, (arguments, ended.output, ended.exception)
        if code:
            assert ended.stderr.count("\n") == 1, ended.stderr
            return ended.stderr
        return ended.stdout

    def json(self, *arguments: str, input: str | bytes | None = None) -> list[Any]:
        return [json.loads(line) for line in self(*arguments, "--json", input=input).splitlines()]

    def until(self, wanted: str, *arguments: str) -> None:
        """Run a command until it prints `wanted`."""
        deadline = time.monotonic() + 120
        while (found := self(*arguments)) != wanted:
            assert time.monotonic() < deadline, (arguments, found)
            time.sleep(0.05)

    def until_queue(self, queue: str, **wanted: object) -> None:
        """Wait until the state of a queue has these values."""
        deadline = time.monotonic() + 120
        while True:
            (found,) = self.json("queue", "show", queue)
            if all(found[name] == value for name, value in wanted.items()):
                return
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments, *self.where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"STREAMS_BROKERS": "127.0.0.1:9"},  # must not matter
        )


@pytest.fixture
def shell(running: Workers) -> Shell:
    return Shell(running.urls)


@pytest.fixture
def tag() -> str:
    return str(uuid.uuid4())


def test_bind_publish_read_ack_unbind(shell: Shell, tag: str, tmp_path: Path) -> None:
    # Given a queue that is bound to two groups at once
    shell("bind", f"lobby-{tag}", f"hall-{tag}", f"bob-{tag}")
    shell.until(f"hall-{tag}\nlobby-{tag}\n", "queue", "groups", f"bob-{tag}")
    shell.until(f"bob-{tag}\n", "members", f"lobby-{tag}")

    # When messages are published in every way, with every option
    (placed,) = shell.json("publish", f"lobby-{tag}", "hello", "--sender", "ann", "--id", "m1")
    assert placed["id"] == "m1"
    shell("publish", f"lobby-{tag}", "hello", "--sender", "ann", "--id", "m1")
    shell(
        "publish", f"@bob-{tag}", "--sender", "ann", "--kind", "vote", "--header", "a=b=c",
        "--expires", "1h", "--receipt", "--no-echo", "--priority", "9", input="from stdin",
    )  # fmt: skip
    (tmp_path / "raw").write_bytes(b"\x00\xff")
    shell("publish", f"hall-{tag}", "--file", str(tmp_path / "raw"))
    shell("publish", f"hall-{tag}", "nobody is there", "--transient")

    # Then each is there once
    deadline = time.monotonic() + 120
    while len(found := shell.json("read", f"bob-{tag}", "--wait", "60")) < 3:
        assert time.monotonic() < deadline, found
    by_kind = {one.get("body", "raw"): one for one in found}
    assert set(by_kind) == {"hello", "from stdin", "raw"}
    assert by_kind["hello"]["sender"] == "ann"
    direct = by_kind["from stdin"]
    assert (direct["kind"], direct["headers"], direct["priority"]) == ("vote", {"a": "b=c"}, 9)
    assert direct["receipt"] is True
    assert direct["expires_at"] > time.time() * 1000
    assert by_kind["raw"]["body_base64"] == "AP8="
    assert f"lobby-{tag} ann: hello" in shell("read", f"bob-{tag}")

    # And they are read after a seq, up to a limit, and acknowledged
    rest = shell.json("read", f"bob-{tag}", "--after", str(found[0]["seq"]))
    assert [one["seq"] for one in rest] == [one["seq"] for one in found[1:]]
    (first,) = shell.json("read", f"bob-{tag}", "--limit", "1", "--ack")
    assert first == found[0]
    shell("ack", f"bob-{tag}", str(found[1]["seq"]))
    shell("ack", f"bob-{tag}", "--upto", str(found[2]["seq"]))
    assert shell("read", f"bob-{tag}") == ""

    # And the bindings are removed
    shell("unbind", f"lobby-{tag}", f"hall-{tag}", f"bob-{tag}")
    shell.until("", "members", f"lobby-{tag}")


def test_events_are_sent_together(shell: Shell, tag: str) -> None:
    lines = [
        {"type": "bind", "group": f"g-{tag}", "queue": f"q-{tag}"},
        {"type": "message", "group": f"g-{tag}", "body": "x"},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    assert shell("events", input=text) == "2 events\n"
    (found,) = shell.json("read", f"q-{tag}", "--wait", "60")
    assert found["body"] == "x"
    wrong = json.dumps({"type": "bind", "group": "@g", "queue": "q"})
    assert "line 1: group begins with @" in shell("events", code=1, input=wrong)


def test_follow_shows_new_messages_until_ctrl_c(shell: Shell, tag: str) -> None:
    following = shell.start("read", f"f-{tag}", "--follow", "--ack", "--json")
    try:
        assert following.stdout is not None
        for text in ("one", "two"):
            shell("publish", f"@f-{tag}", text)
            found = json.loads(following.stdout.readline())
            assert found["body"] == text
            assert "type" not in found
        shell.until("", "read", f"f-{tag}")
        following.send_signal(signal.SIGINT)
        assert following.wait(120) == 130
        assert following.stderr is not None
        assert following.stderr.read() == ""
    finally:
        following.kill()
        following.communicate()


def test_jobs_are_leased_returned_and_acknowledged(shell: Shell, tag: str) -> None:
    pool, dead = f"pool-{tag}", f"dead-{tag}"
    shell("queue", "set", pool, "--max-tries", "5", "--dead-letter", dead, "--ttl", "1h")
    shell("publish", f"@{pool}", "later")
    shell("publish", f"@{pool}", "urgent", "--priority", "9")
    shell.until_queue(pool, depth=2)
    (job,) = shell.json("lease", pool, "--wait", "60", "--consumer", "me", "--visibility", "1m")
    assert (job["body"], job["consumer"], job["tries"]) == ("urgent", "me", 1)
    shell("nack", pool, str(job["seq"]), "--consumer", "me", "--extend", "2m")
    shell("nack", pool, str(job["seq"]), "--consumer", "me")
    jobs = shell.json("lease", pool, "--limit", "1", "--wait", "60")
    while len(jobs) < 2:
        jobs += shell.json("lease", pool, "--limit", "5", "--wait", "60")
    assert [(one["body"], one["tries"]) for one in jobs] == [("urgent", 2), ("later", 1)]
    shell("ack", pool, str(jobs[0]["seq"]))
    shell("nack", pool, str(jobs[1]["seq"]), "--reject")
    (letter,) = shell.json("read", dead, "--wait", "60")
    assert letter["headers"]["dead-letter-queue"] == pool
    assert shell("lease", pool) == ""


def test_a_queue_is_configured_purged_and_deleted(shell: Shell, tag: str) -> None:
    name = f"o-{tag}"
    assert shell.json("queue", "options", name)[0]["max_length"] is None
    shell("queue", "set", name, "--max-length", "3", "--overflow", "drop_newest")
    (found,) = shell.json("queue", "set", name, "--ttl", "2d", "--visibility", "90s")
    assert found["message_ttl_seconds"] is None
    (found,) = shell.json("queue", "set", name, "--message-ttl", "1h")
    assert found["message_ttl_seconds"] == 3600
    (found,) = shell.json("queue", "set", name, "--unset", "message-ttl")
    assert found["message_ttl_seconds"] is None
    assert (found["max_length"], found["overflow"]) == (3, "drop_newest")
    assert (found["ttl_seconds"], found["visibility_seconds"]) == (172_800, 90)
    (found,) = shell.json("queue", "set", name, "--unset", "ttl", "--unset", "max-length")
    assert (found["ttl_seconds"], found["max_length"]) == (None, None)
    (found,) = shell.json("queue", "set", name, "--reset", "--max-tries", "2")
    assert (found["max_tries"], found["overflow"]) == (2, "drop_oldest")
    assert "max_tries: 2\n" in shell("queue", "options", name)
    assert "must differ from queue" in shell("queue", "set", name, "--dead-letter", name, code=1)

    shell("publish", f"@{name}", "x")
    shell("read", name, "--wait", "60")
    shell.until_queue(name, depth=1, groups=0, session=None)
    shell("queue", "purge", name)
    shell.until("", "read", name)
    shell("queue", "delete", name)
    assert shell.json("queue", "options", name)[0]["max_tries"] is None
    (report,) = shell.json("erase", name)
    assert report["queue"] == name
    assert "still retained: " in shell("erase", name)


def test_sessions_are_opened_held_and_closed(shell: Shell, tag: str) -> None:
    name, watcher = f"s-{tag}", f"w-{tag}"
    shell("bind", f"presence:{name}", watcher)
    shell("session", "open", name, "s1", "--group", f"a-{tag}", "--group", f"b-{tag}")
    shell.until(f"a-{tag}\nb-{tag}\n", "queue", "groups", name)
    shell("session", "heartbeat", name, "s1")
    assert "not open" in shell("session", "heartbeat", name, "s2", code=1)
    shell("session", "close", name, "s1")
    shell.until("", "queue", "groups", name)

    # Held by one command, and taken over by another
    holding = shell.start("session", "hold", name, "--session", "s3", "--ttl", "6")
    try:
        assert holding.stdout is not None
        assert holding.stdout.readline() == "s3 is open\n"
        shell("session", "open", name, "s4", "--no-presence", "--ttl", "60")
        _, errors = holding.communicate(timeout=120)
        assert holding.returncode == 1
        assert errors == f"streams: another session of '{name}' has taken over\n"
    finally:
        holding.kill()
    shell.until_queue(name, session="s4")

    # And held until its holder is stopped
    holding = shell.start("session", "hold", name, "--group", f"a-{tag}", "--json")
    try:
        assert holding.stdout is not None
        held = json.loads(holding.stdout.readline())["session"]
        shell.until_queue(name, session=held)
        holding.send_signal(signal.SIGTERM)
        _, errors = holding.communicate(timeout=120)
        assert (holding.returncode, errors) == (130, "")
    finally:
        holding.kill()
    shell.until_queue(name, session=None)
    told = shell.json("read", watcher, "--wait", "60")
    assert [json.loads(one["body"])["state"] for one in told][:2] == ["online", "offline"]


def test_history_is_shown_by_offset_and_time_and_replayed(shell: Shell, tag: str) -> None:
    group, late = f"told-{tag}", f"late-{tag}"
    (first,) = shell.json("publish", group, "one")
    (second,) = shell.json("publish", group, "two")
    assert [one["body"] for one in shell.json("history", group)] == ["one", "two"]
    assert [one["offset"] for one in shell.json("history", group, "--from", "10m")] == [
        first["offset"],
        second["offset"],
    ]
    one_on = shell.json("history", group, "--from", str(first["offset"] + 1))
    assert [one["body"] for one in one_on] == ["two"]
    one_off = shell.json("history", group, "--to", str(second["offset"]))
    assert [one["body"] for one in one_off] == ["one"]
    assert len(shell.json("history", group, "--limit", "1")) == 1
    assert f"{group} -: one\n" in shell("history", group)
    assert shell("replay", group, late) == "2 replayed\n"
    deadline = time.monotonic() + 120
    while len(found := shell.json("read", late, "--wait", "60")) < 2:
        assert time.monotonic() < deadline
    assert [one["body"] for one in found] == ["one", "two"]
    assert found[0]["headers"]["replay-group"] == group


def test_the_cluster_is_shown(shell: Shell) -> None:
    rows = shell.json("cluster")
    assert {row["table"] for row in rows} == {"members", "queues"}
    assert {row["owner"] for row in rows} <= set(shell.urls)
    lines = shell("cluster").splitlines()
    assert lines[0].startswith("table")
    assert len(lines) == 1 + len(rows)


def test_a_refusal_is_one_line(shell: Shell) -> None:
    assert "control characters" in shell("publish", "a\nb", "x", code=1)
    assert "over the limit" in shell("publish", "g", "x" * 300_000, code=1)
    assert "a receipt needs a sender" in shell("publish", "g", "x", "--receipt", code=1)
    assert "begins with @" in shell("bind", "@g", "q", code=1)


def test_a_closed_pipe_ends_a_command_quietly(shell: Shell, tag: str) -> None:
    lines = "\n".join(
        json.dumps({"type": "message", "queue": f"many-{tag}", "body": "x" * 1000})
        for _ in range(300)
    )
    shell("events", input=lines)
    reading = shell.start("read", f"many-{tag}", "--limit", "300", "--wait", "60")
    assert reading.stdout is not None
    assert reading.stdout.readline()
    reading.stdout.close()
    assert reading.stderr is not None
    assert reading.stderr.read() == ""
    assert reading.wait(120) == 0
