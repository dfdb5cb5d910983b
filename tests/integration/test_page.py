"""The page of a worker in a real browser: what it shows, how it is used, what it resists.

Skipped where no Chromium is installed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from chromium import Chromium, Tab, chromium, found
from two_workers import PARTITIONS, Cluster, run_workers, two_workers, wait_until_ready
from yarl import URL

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers
from streams.security.signing import make_key, sign

needs_chromium = pytest.mark.skipif(found() is None, reason="no chromium is installed")

CELLS = 2 * PARTITIONS
ALL_READY = f"document.querySelectorAll('.cell[data-state=ready]').length === {CELLS}"
JOINED = "!document.querySelector('#chat-text').disabled"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("page"), "page", 17666) as started:
        yield started


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    program = found()
    assert program is not None
    async with chromium(program, tmp_path / "profile") as started:
        yield started


async def opened(browser: Chromium, url: str, **look: Any) -> Tab:
    tab = await browser.tab()
    await tab.look(**look)
    await tab.open(f"{url}/")
    return tab


async def join(tab: Tab, queue: str, group: str) -> None:
    await tab.fill("#chat-queue", queue)
    await tab.fill("#chat-group", group)
    await tab.press("Enter")
    await tab.until(JOINED)


async def say(tab: Tab, text: str) -> None:
    await tab.fill("#chat-text", text)
    await tab.press("Enter")


async def heard(tab: Tab) -> list[str]:
    lines: list[str] = await tab.run(
        "[...document.querySelectorAll('#chat-log .body')].map((line) => line.textContent)"
    )
    return lines


# What it shows ------------------------------------------------------------------------------


@needs_chromium
async def test_two_tabs_talk_through_two_workers(cluster: Cluster, browser: Chromium) -> None:
    # Given two tabs, one at each worker, in one group; a name and a text look like HTML
    ada = await opened(browser, cluster.urls[0])
    bob = await opened(browser, cluster.urls[1])
    await join(ada, "ada", "tavern/1")
    await join(bob, "bob <b>", "tavern/1")

    # When each says something
    await say(ada, f"hello {HOSTILE}")
    await ada.until("document.querySelectorAll('#chat-log li').length === 1")
    await bob.until("document.querySelectorAll('#chat-log li').length === 1")
    await say(bob, "hi ada")

    # Then both show both messages, once, as text
    for tab in (ada, bob):
        await tab.until("document.querySelectorAll('#chat-log li').length === 2")
        assert await heard(tab) == [f"hello {HOSTILE}", "hi ada"]
        assert await tab.run("document.querySelectorAll('#chat-log img').length") == 0
    assert "bob <b>" in await ada.text("#chat-log")
    # And what was shown is acknowledged
    await cluster.depth("ada", 0)

    # When one leaves, the binding is gone
    await ada.click("#join")
    left = "document.querySelector('#chat-status').textContent.includes('no longer bound')"
    await ada.until(left)
    assert await members(cluster, "tavern%2F1") == ["bob <b>"]
    assert ada.problems + bob.problems == []


async def members(cluster: Cluster, group: str) -> list[str]:
    url = URL(f"{cluster.urls[0]}/v1/groups/{group}/queues", encoded=True)
    async with cluster.session.get(url) as answer:
        queues: list[str] = (await answer.json())["queues"]
        return queues


@needs_chromium
async def test_a_chat_whose_queue_is_deleted_says_so(cluster: Cluster, browser: Chromium) -> None:
    tab = await opened(browser, cluster.urls[0])
    await join(tab, "gone", "tavern/2")
    # The chat has received something, so it follows the queue
    await say(tab, "anybody?")
    await tab.until("document.querySelectorAll('#chat-log li').length === 1")
    async with cluster.session.delete(f"{cluster.urls[1]}/v1/queues/gone") as done:
        assert done.status == 204
    await tab.until("document.querySelector('#chat-status').textContent.includes('Join again')")
    # and one can join again
    await join(tab, "gone", "tavern/2")
    await say(tab, "again")
    await tab.until("document.querySelectorAll('#chat-log li').length === 2")
    assert tab.problems == []


@needs_chromium
async def test_the_cluster_is_shown_and_navigable_by_keyboard(
    cluster: Cluster, browser: Chromium
) -> None:
    tab = await opened(browser, cluster.urls[0])
    await tab.until(ALL_READY)

    text = await tab.text("#workers")
    assert all(url in text for url in cluster.urls)
    assert await tab.text("#health") == "healthy"

    # Tab reaches the first cell, and the arrow keys move from there
    await tab.run("document.querySelector('.cell').focus()")
    await tab.press("ArrowRight")
    await tab.press("Enter")
    assert (await tab.text("#partition")).startswith("members 1: ready")
    assert await tab.run("document.querySelectorAll('.cell[tabindex=\"0\"]').length") == 2


@needs_chromium
async def test_plots_follow_the_traffic(cluster: Cluster, browser: Chromium) -> None:
    tab = await opened(browser, cluster.urls[0])
    await tab.until(ALL_READY)
    numbers = "[...document.querySelectorAll('.plot')].map((plot) => plot.innerText)"

    async def traffic() -> None:
        for number in range(1000):
            lines = [
                {"type": "bind", "group": f"plot{number}", "queue": "plotted"},
                {"type": "message", "group": f"plot{number}", "sender": "x", "body": "x"},
            ]
            body = "\n".join(json.dumps(line) for line in lines)
            async with cluster.session.post(f"{cluster.urls[0]}/v1/events", data=body) as answer:
                assert answer.status == 200, await answer.text()
            await asyncio.sleep(0.02)

    busy = asyncio.create_task(traffic())
    try:
        for title in ("Churn", "Messages", "Deliveries", "Inbox depth", "Publish p99"):
            await tab.until(
                f"{numbers}.some((text) => text.startsWith('{title}') && /\\n[1-9<]/.test(text))"
            )
        await tab.until("document.querySelector('.plot .curve').getAttribute('d').includes('L')")
    finally:
        busy.cancel()


@needs_chromium
async def test_groups_and_queues_are_found(cluster: Cluster, browser: Chromium) -> None:
    # Given a queue with more deliveries than fit on one page
    queue = f"q{HOSTILE}"
    lines = [{"type": "bind", "group": "found", "queue": queue}]
    lines += [
        {"type": "message", "group": "found", "sender": "me", "body": f"{n} <b>bold</b>"}
        for n in range(25)
    ]
    body = "\n".join(json.dumps(line) for line in lines)
    async with cluster.session.post(f"{cluster.urls[0]}/v1/events", data=body) as answer:
        assert answer.status == 200, await answer.text()
    tab = await opened(browser, cluster.urls[1])

    # When the group is searched, its member is shown, and the member links to its inbox
    await tab.fill("#find-id", "found")
    await tab.press("Enter")
    await tab.until("document.querySelector('#found .id')")
    assert await tab.text("#found .id") == queue
    await tab.click("#found .id")
    await tab.until("document.querySelectorAll('#found .inbox li').length === 20")
    assert "found" in await tab.text("#found .ids")
    await tab.click("#found .inbox + button")
    await tab.until("document.querySelectorAll('#found .inbox li').length === 25")

    # Then everything is shown as text
    assert "24 <b>bold</b>" in await tab.text("#found .inbox")
    assert await tab.run("document.querySelectorAll('#found img, #found b').length") == 0
    # And an unknown group is reported as such
    await tab.fill("#find-id", "nobody")
    await tab.press("Enter")
    await tab.until("document.querySelector('#found').innerText.includes('Bound to\\n0 groups')")


# How it looks and is used --------------------------------------------------------------------


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
async def test_it_fits_the_screen_and_is_legible(
    cluster: Cluster, browser: Chromium, dark: bool
) -> None:
    for width in (320, 390, 1400):
        tab = await opened(browser, cluster.urls[0], width=width, dark=dark)
        await tab.until(ALL_READY)
        assert await tab.run("document.documentElement.scrollWidth <= innerWidth"), width

    paper = await tab.run("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, paper[4:-1].split(","))) < 64) is dark
    # Text of every colour has a contrast of at least 4.5 (WCAG AA)
    poor = await tab.run(CONTRAST)
    assert poor == []


CONTRAST = """(() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const parts = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const pairs = [["--ink", "--paper"], ["--ink", "--card"], ["--ink", "--wash"],
    ["--ink", "--bad-wash"], ["--soft", "--paper"], ["--soft", "--card"], ["--accent", "--card"],
    ["--accent-ink", "--accent"], ["--bad", "--bad-wash"], ["--busy", "--card"],
    ["--good", "--card"]];
  return pairs.filter(([one, other]) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05) < 4.5;
  });
})()"""


@needs_chromium
async def test_it_is_usable_by_keyboard_alone(cluster: Cluster, browser: Chromium) -> None:
    tab = await opened(browser, cluster.urls[0])
    await tab.until(ALL_READY)
    stops = []
    for _ in range(20):
        await tab.press("Tab")
        stops.append(
            await tab.run(
                "(document.activeElement.id || document.activeElement.className"
                " || document.activeElement.textContent)"
            )
        )

    # Tab visits everything in page order: navigation, partitions, search, chat
    wanted = ["skip", "Cluster", "Find", "Chat", "cell", "cell", "find-kind", "find-id"]
    assert stops[: len(wanted)] == wanted
    assert [stop for stop in stops if stop in ("chat-queue", "chat-group", "join")] == [
        "chat-queue",
        "chat-group",
        "join",
    ]
    # And everything has an accessible name
    unnamed = await tab.run(
        "[...document.querySelectorAll('button, input, select, a')].filter((one) =>"
        " !one.textContent.trim() && !one.getAttribute('aria-label') && !one.labels?.length)"
        ".map((one) => one.id)"
    )
    assert unnamed == []
    regions = await tab.run(
        "[...document.querySelectorAll('[role=status],[role=alert],[role=log]')].map(r => r.id)"
    )
    assert {"health", "notice", "chat-log", "chat-status", "find-status"} <= set(regions)


# What it resists -----------------------------------------------------------------------------


@needs_chromium
async def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(
    cluster: Cluster, browser: Chromium
) -> None:
    tab = await opened(browser, cluster.urls[0])
    await tab.until(ALL_READY)

    origins = await tab.run(
        "performance.getEntriesByType('resource').map((one) => new URL(one.name).origin)"
    )
    assert set(origins) == {cluster.urls[0]}
    # An injected inline script is not run
    ran = await tab.run(
        "(() => { const one = document.createElement('script');"
        " one.textContent = 'window.ran = true'; document.body.append(one);"
        " return window.ran === true; })()"
    )
    assert ran is False
    assert any("Content Security Policy" in problem for problem in tab.problems)


async def test_its_files_have_a_strict_content_policy(cluster: Cluster) -> None:
    index = await cluster.session.get(f"{cluster.urls[0]}/")
    assert index.status == 200
    policy = index.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    again = await cluster.session.get(
        f"{cluster.urls[0]}/", headers={"If-None-Match": index.headers["ETag"]}
    )
    assert again.status == 304
    for missing in ("/page/nothing.js", "/page/..%2fserver.py", "/page/__init__.py", "/page/"):
        answer = await cluster.session.get(cluster.urls[0] + missing)
        assert answer.status == 404, missing


@needs_chromium
async def test_a_dead_worker_is_shown_and_reconnected_to(
    cluster: Cluster, browser: Chromium
) -> None:
    # Given a page at each worker, and a chat through the second
    first = await opened(browser, cluster.urls[0])
    second = await opened(browser, cluster.urls[1])
    for tab in (first, second):
        await tab.until(ALL_READY)
    await join(second, "away-1", "away")
    await join(first, "away-0", "away")

    # When the second worker dies
    cluster.kill(1)

    # Then its page says so, and the other page shows what is missing until the takeover
    await second.until("document.querySelector('#health').dataset.kind === 'away'")
    assert "does not answer" in await second.text("#notice")
    await first.until("document.querySelector('#health').dataset.kind === 'part'")
    await first.until(ALL_READY)
    await say(first, "while you were away")

    # When it is back, its page reconnects, and the chat has missed nothing
    cluster.restart(1)
    await second.until("document.querySelector('#health').dataset.kind === 'good'")
    await second.until("document.querySelectorAll('#chat-log li').length === 1")
    assert await heard(second) == ["while you were away"]
    await cluster.owners()


async def test_one_worker_answers_for_all(cluster: Cluster) -> None:
    await cluster.owners()
    whole = await cluster.get("/v1/cluster?all=1")

    assert [worker["url"] for worker in whole["workers"]] == sorted(cluster.urls)
    assert all(worker["answers"] for worker in whole["workers"])
    assert len(whole["partitions"]) == CELLS
    assert {row["state"] for row in whole["partitions"]} == {"ready"}
    assert {row["owner"] for row in whole["partitions"]} == set(cluster.urls)
    # Without `all`, the answer is unchanged
    assert "workers" not in await cluster.get("/v1/cluster")
    for wrong in ("all=2", "all=x", "every=1"):
        async with cluster.session.get(f"{cluster.urls[0]}/v1/cluster?{wrong}") as answer:
            assert answer.status == 400


async def test_a_hanging_worker_does_not_delay_the_answer(cluster: Cluster) -> None:
    process = cluster.workers.processes[1].process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        whole = await cluster.get("/v1/cluster?all=1")
        assert time.monotonic() - began < 30  # that of a request to a worker ends after 90
    finally:
        os.kill(process.pid, signal.SIGCONT)

    hanging = next(one for one in whole["workers"] if one["url"] == cluster.urls[1])
    assert hanging == {"url": cluster.urls[1], "answers": False, "error": "it does not answer"}
    states = {row["state"] for row in whole["partitions"] if row["owner"] == cluster.urls[1]}
    assert states == {"unknown"}


# Behind a reverse proxy ----------------------------------------------------------------------


@asynccontextmanager
async def prefixed(url: str, prefix: str) -> AsyncIterator[str]:
    """Serve a worker below a prefix, and nothing else; yield the URL of its page."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            target = URL(url + request.raw_path.removeprefix(prefix), encoded=True)
            async with session.request(
                request.method, target, headers=request.headers, data=await request.read()
            ) as answer:
                response = web.StreamResponse(status=answer.status, headers=answer.headers)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                return response

        app = web.Application()
        app.router.add_route("*", prefix + "/{rest:.*}", forward)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}{prefix}"
        finally:
            await runner.cleanup()


@needs_chromium
async def test_it_works_below_the_prefix_of_a_reverse_proxy(
    cluster: Cluster, browser: Chromium
) -> None:
    await cluster.owners()
    async with prefixed(cluster.urls[0], "/a/b") as url:
        # Given the page below a prefix
        tab = await opened(browser, url)
        await tab.until(ALL_READY)

        # When it is used
        await join(tab, "eve", "behind")
        await say(tab, "through a proxy")
        await tab.until("document.querySelectorAll('#chat-log li').length === 1")

        # Then everything it loads and links to is below the prefix
        names = await tab.run(
            "[...performance.getEntriesByType('resource').map((one) => one.name),"
            " ...[...document.querySelectorAll('a')].map((one) => one.href)]"
        )
        assert len(names) > 10
        assert [name for name in names if not name.startswith(f"{url}/")] == []
        assert tab.problems == []
        # And so are the paths of the OpenAPI document
        async with cluster.session.get(f"{url}/v1/openapi.json") as answer:
            servers = (await answer.json())["servers"]
        base = URL(f"{url}/v1/openapi.json").join(URL(servers[0]["url"]))
        assert str(base) == f"{url}/"


# With authentication -------------------------------------------------------------------------


@pytest.fixture
def guarded(kafka: EmbeddedKafka, namespace: str, tmp_path: Path) -> Iterator[str]:
    """URL of a worker that requires tokens."""
    make_key(tmp_path / "key.pem", tmp_path / "public.pem")
    variables = {"STREAMS_AUTH_KEYS": str(tmp_path / "public.pem")}
    with run_workers(1, kafka, tmp_path / "data", namespace, 17766, variables) as started:
        wait_until_ready(started)
        yield started.urls[0]


@needs_chromium
async def test_it_asks_for_a_token_and_keeps_it_in_the_tab(
    guarded: str, namespace: str, tmp_path: Path, browser: Chromium
) -> None:
    # Given a worker that requires tokens, and an administrator's token
    claims = {
        "aud": "streams",
        "exp": time.time() + 600,
        "streams": {"namespace": namespace, "admin": True},
    }
    token = sign(claims, (tmp_path / "key.pem").read_bytes())
    tab = await opened(browser, guarded)

    # When the page is opened, it asks for a token; and again after a wrong one
    for wrong in (None, "wrong"):
        await tab.until("document.querySelector('#token-dialog').open")
        if wrong is not None:
            await tab.fill("#token", wrong)
            await tab.press("Enter")
            await tab.until("document.querySelector('#health').dataset.kind === 'denied'")
            await tab.until("document.querySelector('#token-dialog').open")
    await tab.fill("#token", token)
    await tab.press("Enter")

    # Then everything works, including the chat
    await tab.until(ALL_READY)
    await join(tab, "carl", "guarded")
    await say(tab, "with a token")
    await tab.until("document.querySelectorAll('#chat-log li').length === 1")
    # And the token is kept in this tab only, across a reload
    assert await tab.run("localStorage.length + document.cookie.length") == 0
    assert await tab.run("Object.values(sessionStorage)") == [token]
    assert token not in await tab.run("document.documentElement.outerHTML")
    await tab.open(f"{guarded}/")
    await tab.until(ALL_READY)
    other = await opened(browser, guarded)
    await other.until("document.querySelector('#token-dialog').open")
