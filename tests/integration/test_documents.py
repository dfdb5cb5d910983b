"""The commands and programs that README and docs/ show run as they stand."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from two_workers import two_workers, wait_until_ready

from streams.cli.commands import cli
from streams.client import Client
from streams.gateway.routes import ROUTES
from streams.gateway.writes.event_parser import EVENT_TYPES
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
API = (DOCS / "reference/http.md").read_text()
TUTORIAL = (DOCS / "tutorial.md").read_text()
GUIDES = {
    name: (DOCS / f"how-to/{name}.md").read_text()
    for name in ("queues", "sessions", "jobs", "history")
}
README = (ROOT / "README.md").read_text()
SHOWN = {"tutorial": TUTORIAL, **GUIDES, "http": API}
LIVE = [
    (name, code)
    for name, text in GUIDES.items()
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
]
WORKER = "localhost:6066"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Return the commands behind the prompts, with their indented continuation lines."""
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
        for _ in range(10):  # the API page goes on with a history at offset 9
            assert invoke("streams publish lobby hello", started).exit_code == 0
        yield started


@pytest.mark.parametrize("name", SHOWN)
def test_commands_that_are_shown_work(name: str, running: Workers) -> None:
    given = [command for command in commands(SHOWN[name]) if command.startswith("streams ")]
    assert given or name == "http"
    for command in given:
        ended = invoke(command, running)
        assert ended.exit_code == 0, (command, ended.output)


def invoke(command: str, running: Workers) -> Result:
    """Run a command of the documents against the running workers."""
    arguments = shlex.split(command, comments=True)[1:]
    asks_a_worker = arguments[0] not in ("tail", "inspect")
    url = ["--url", running.urls[0]] if asks_a_worker else []
    return CliRunner().invoke(
        cli, [*arguments, *url], env=running.processes[0].environment, catch_exceptions=False
    )


@pytest.mark.parametrize("name", SHOWN)
def test_curl_that_is_shown_works(name: str, running: Workers) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    given = [command for command in commands(SHOWN[name]) if command.startswith("curl ")]
    assert len(given) >= (40 if name == "http" else 2)
    for command in given:
        there = command.replace(WORKER, running.urls[0].removeprefix("http://"))
        done = subprocess.run(
            ["bash", "-c", there.replace("curl ", "curl --silent --show-error ", 1)],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        if done.stdout.startswith('{"error"'):
            assert "no_session" in done.stdout, (command, done.stdout)


def test_the_tutorial_reads_what_it_sends(running: Workers) -> None:
    # Given the tutorial's group, with an empty inbox
    for command in ("streams bind plaza ann", "streams bind plaza bob", "streams queue purge bob"):
        assert invoke(command, running).exit_code == 0

    # When its messages are sent
    sent = [command for command in commands(TUTORIAL) if command.startswith("streams publish")]
    assert len(sent) == 2
    for command in sent:
        assert invoke(command, running).exit_code == 0

    # Then bob reads both, acknowledges them, and they are gone
    limit = time.monotonic() + 120
    while "lunch?" not in (shown := invoke("streams read bob --wait 5", running).output):
        assert time.monotonic() < limit, shown
    assert "hello everybody" in shown
    assert invoke("streams read bob --ack", running).output == shown
    while invoke("streams queue show bob --json", running).output.find('"depth":0') < 0:
        assert time.monotonic() < limit
        time.sleep(0.1)


@pytest.mark.parametrize("text", [TUTORIAL, README], ids=["tutorial", "README"])
async def test_a_first_program_works(text: str, running: Workers) -> None:
    (code,) = blocks(text, "python")
    url = running.urls[0]
    names: dict[str, object] = {"asyncio": asyncio}
    body = textwrap.indent(code.replace("http://127.0.0.1:6066", url), "    ")
    exec(f"async def shown():\n{body}", names)
    async with Client(url) as client:
        await client.purge("bob")
    shown = names["shown"]
    assert callable(shown)
    told = asyncio.Event()
    names["print"] = lambda *words: told.set()
    task = asyncio.create_task(shown())
    done, _ = await asyncio.wait(
        [task, asyncio.create_task(told.wait())], timeout=180, return_when=asyncio.FIRST_COMPLETED
    )
    assert told.is_set(), done
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("name", "code"), LIVE, ids=[f"{name}" for name, _ in LIVE])
async def test_python_that_is_shown_works(name: str, code: str, running: Workers) -> None:
    body = textwrap.indent(code, "    ")
    names: dict[str, object] = {}
    exec(f"async def shown(client):\n{body}", names)
    shown = names["shown"]
    assert callable(shown)
    async with Client(*running.urls) as client:
        await client.purge("tiles")
        await client.send("tiles", "a job")
        if name != "jobs":
            await asyncio.wait_for(shown(client), 180)
            return
        task = asyncio.create_task(shown(client))  # goes on for ever
        limit = time.monotonic() + 120
        try:
            while (await client.queue("tiles")).depth > 0:
                assert time.monotonic() < limit
                assert not task.done(), task.exception()
                await asyncio.sleep(0.1)
        finally:
            task.cancel()


def test_all_that_http_can_do_is_shown() -> None:
    shown = re.sub(r"'", "", API)
    for route in ROUTES:
        if route.template.startswith("/page/"):
            continue  # of the page at /
        pattern = re.sub(r"\\{\w+\\}", r"[^/ ?`]+", re.escape(route.template))
        assert re.search(pattern, shown), route.template
    for kind in EVENT_TYPES:
        assert f'"type":"{kind}"' in API, kind


def test_a_shell_has_them_too(running: Workers) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "streams.app", "queue", "show", "bob"],
        env=os.environ | {"STREAMS_HTTP_PORT": running.urls[0].rpartition(":")[2]},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("queue: bob\n")
