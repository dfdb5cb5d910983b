"""What the README and docs/ show works as it stands, and nothing that there is goes unsaid."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from two_workers import two_workers, wait_until_ready

from streams.cli.commands import cli
from streams.client import Client
from streams.gateway.routes import ROUTES
from streams.gateway.writes.event_parser import EVENT_TYPES
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs/http-api.md").read_text()
README = (ROOT / "README.md").read_text()
SECTION = README[README.index("\n## Queues, sessions, jobs") : README.index("\n## By Avro")]
WORKER = "localhost:6066"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Return what stands behind the prompts, with the lines that go on further in."""
    found: list[str] = []
    for block in blocks(text, "console"):
        going_on = False
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
                going_on = True
            elif going_on and line.startswith("    "):
                found[-1] += "\n" + line
            else:
                going_on = False
    return found


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("documents"), "documents", 17666) as started:
        wait_until_ready(started)
        yield started


@pytest.mark.parametrize("text", [API, SECTION], ids=["http-api", "README"])
def test_what_is_shown_works(text: str, running: Workers) -> None:
    given = commands(text)
    assert len(given) > 25
    for command in given:
        if command.startswith("streams "):
            arguments = shlex.split(command, comments=True)[1:]
            ended = CliRunner().invoke(cli, [*arguments, "--url", running.urls[0]])
            assert ended.exit_code == 0, (command, ended.output)
            continue
        there = command.replace(WORKER, running.urls[0].removeprefix("http://"))
        done = subprocess.run(
            ["bash", "-c", there.replace("curl ", "curl --silent --show-error ", 1)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        if done.stdout.startswith('{"error"'):
            assert "no_session" in done.stdout, (command, done.stdout)


@pytest.mark.parametrize("number", range(len(blocks(SECTION, "python"))))
async def test_python_that_is_shown_works(number: int, running: Workers) -> None:
    code = blocks(SECTION, "python")[number]
    body = textwrap.indent(code, "    ")
    names: dict[str, object] = {}
    exec(f"async def shown(client):\n{body}", names)
    shown = names["shown"]
    assert callable(shown)
    async with Client(*running.urls) as client:
        await client.purge("tiles")
        await client.send("tiles", "a job")
        try:
            await asyncio.wait_for(shown(client), 8)
        except TimeoutError:
            assert "client.jobs" in code  # that one goes on for ever
            assert (await client.queue("tiles")).depth == 0


def test_all_that_http_can_do_is_shown() -> None:
    shown = re.sub(r"'", "", API)
    for route in ROUTES:
        if route.template.startswith("/page/"):
            continue  # of the page at /
        pattern = re.sub(r"\\{\w+\\}", r"[^/ ?`]+", re.escape(route.template))
        assert re.search(pattern, shown), route.template
    for kind in EVENT_TYPES:
        assert f'"type":"{kind}"' in API, kind


def test_all_commands_are_named() -> None:
    packages = ("streams.cli.", "streams.lab.cli.")
    ours = {
        name for name, command in cli.commands.items() if command.callback is not None
        and (command.callback.__module__.startswith(packages) or name == "worker")
    }  # fmt: skip
    text = README[README.index("\n## By command line") :]
    for name in ours - {"run", "token"}:
        assert f"streams {name}" in text or f"`{name}`" in text, name


def test_a_shell_has_them_too(running: Workers) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "streams.app", "queue", "show", "bob"],
        env=os.environ | {"STREAMS_HTTP_PORT": running.urls[0].rpartition(":")[2]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("queue: bob\n")
