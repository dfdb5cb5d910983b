"""A headless Chromium, driven over its DevTools protocol by a WebSocket.

No more than the tests of the page need: open a tab, run JavaScript in it, type and press
keys as a person does, and take pictures.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

START_SECONDS = 120.0
WAIT_SECONDS = 180.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "Escape": ("Escape", 27, ""),
}


def found() -> str | None:
    """Return the path of an installed Chromium; None without one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Tab:
    """One tab."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self._session = session

    async def send(self, method: str, **parameters: Any) -> Any:
        return await self._chromium.send(method, parameters, self._session)

    async def open(self, url: str) -> None:
        await self.send("Page.navigate", url=url)
        await self.until(
            f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'"
        )

    async def run(self, script: str) -> Any:
        """Return the value of an expression, which may be a promise."""
        result = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, (script, result["exceptionDetails"])
        return result["result"].get("value")

    async def until(self, script: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    with suppress(ChromiumError):  # the tab may be between two pages
                        if await self.run(f"!!({script})"):
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.run("document.body.innerText")
            raise AssertionError(f"never true: {script}\n{text}\n{self.problems}") from None

    async def text(self, selector: str) -> str:
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def click(self, selector: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def fill(self, selector: str, text: str) -> None:
        """Replace the text of a field, by keyboard."""
        quoted = json.dumps(selector)
        await self.run(f"document.querySelector({quoted}).focus()")
        await self.run(f"document.querySelector({quoted}).select()")
        await self.type(text)

    async def type(self, text: str) -> None:
        await self.send("Input.insertText", text=text)

    async def press(self, key: str, shift: bool = False) -> None:
        code, number, text = _KEYS[key]
        event = {
            "key": key,
            "code": code,
            "windowsVirtualKeyCode": number,
            "modifiers": 8 if shift else 0,
        }
        await self.send(
            "Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **event
        )
        await self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    async def look(self, *, width: int = 1100, height: int = 800, dark: bool = False) -> None:
        """Emulate a screen of this size, in the light or dark colour scheme."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page."""
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    @property
    def problems(self) -> list[str]:
        """Errors and policy violations that the browser reported in this tab."""
        return self._chromium.problems.get(self._session, [])


class ChromiumError(Exception):
    """The browser refused a command."""


class Chromium:
    """A running browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.problems: dict[str, list[str]] = {}
        self._reader = asyncio.create_task(self._read())

    async def tab(self) -> Tab:
        """Open a tab with storage of its own."""
        context = await self.send("Target.createBrowserContext", {})
        target = await self.send(
            "Target.createTarget",
            {"url": "about:blank", "browserContextId": context["browserContextId"]},
        )
        attached = await self.send(
            "Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}
        )
        tab = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await tab.send(f"{domain}.enable")
        return tab

    async def send(self, method: str, parameters: dict[str, Any], session: str = "") -> Any:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        async with asyncio.timeout(WAIT_SECONDS + 10):
            return await answer

    async def close(self) -> None:
        with suppress(Exception):
            await self.send("Browser.close", {})
        self._reader.cancel()

    async def _read(self) -> None:
        async for message in self._socket:
            content = json.loads(message.data)
            answer = self._answers.pop(content.get("id", 0), None)
            if answer is not None and not answer.done():
                if "error" in content:
                    answer.set_exception(ChromiumError(content["error"]["message"]))
                else:
                    answer.set_result(content["result"])
            elif "method" in content:
                self._note(content)

    def _note(self, event: dict[str, Any]) -> None:
        problems = self.problems.setdefault(event.get("sessionId", ""), [])
        values = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            problems.append(details.get("exception", {}).get("description") or details["text"])
        elif event["method"] == "Log.entryAdded" and values["entry"]["level"] == "error":
            entry = values["entry"]
            problems.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")


@asynccontextmanager
async def chromium(program: str, profile: Path) -> AsyncIterator[Chromium]:
    """Run a browser with a fresh profile."""
    process = await asyncio.create_subprocess_exec(
        program,
        *_FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        port, path = await _address(profile / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            browser = Chromium(socket)
            try:
                yield browser
            finally:  # killed, it would leave helper processes behind
                await browser.close()
    finally:
        with suppress(TimeoutError, ProcessLookupError):
            await asyncio.wait_for(process.wait(), 5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _address(file: Path) -> tuple[str, str]:
    """Return port and path of the browser's WebSocket, which it writes to this file."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            lines = await asyncio.to_thread(_lines, file)
            if len(lines) >= 2:
                return lines[0], lines[1]
            await asyncio.sleep(0.05)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
