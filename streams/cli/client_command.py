"""Commands that send requests to a worker: their options, their output and their exit codes.

Such a command is a coroutine function that takes a `Client` and a `Printer`; `client_command`
registers it.  It needs only a worker's HTTP address, no Kafka.  Exit
codes: 0 success, 1 refused or not found, 2 wrong usage, 3 no worker can be reached.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from urllib.parse import urlsplit

import click
import orjson

from streams.cli.base import exit_code, json_wanted, ours, stopping_signals
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.client import Client

Command: TypeAlias = Callable[..., Awaitable[None]]

RETRY_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 60.0
"""How long a worker may hold an answer back; a longer wait takes several requests."""


class Printer:
    """Prints results: one JSON object per line, or text."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def __call__(self, content: Mapping[str, Any], words: str | None = None) -> None:
        """Print one result; as text it is `words`, or a line for each member."""
        if self.as_json:
            click.echo(orjson.dumps(content).decode())
        elif words is not None:
            click.echo(words)
        else:
            for name, value in content.items():
                click.echo(f"{name}: {'none' if value is None else value}")

    def held(self, offset: int) -> None:
        """Say on standard error that a history ends early."""
        click.echo(
            f"streams: an open transaction of a producer holds the log from offset {offset} on; "
            "messages after it, confirmed or not, can be read once it ends",
            err=True,
        )

    def message(self, content: Mapping[str, Any]) -> None:
        """Print a message: position, time, group, sender and body."""
        self(content, message_in_words(content))


def message_in_words(content: Mapping[str, Any]) -> str:
    """Return a message as one printable line."""
    place = content["seq"] if "seq" in content else content["offset"]
    at = datetime.fromtimestamp(content["at"] / 1000, UTC).isoformat(timespec="milliseconds")
    kind = "" if content["kind"] == "text" else f" ({content['kind']})"
    text = content.get("body")
    body = f"base64 {content['body_base64']}" if text is None else text
    words = f"{place} {at} {content['group']} {content['sender'] or '-'}{kind}: {body}"
    more = [f"{name}={value}" for name, value in content["headers"].items()]
    more += [f"{name} {content[name]}" for name in ("tries", "consumer") if name in content]
    return printable(f"{words} [{', '.join(more)}]" if more else words)


def printable(text: str) -> str:
    """Return the text with every character escaped that could control the terminal."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def _url(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> Any:
    for url in given:
        try:
            parts = urlsplit(url)
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if not right:
            raise click.BadParameter(
                f"{url!r} is not the URL of a worker, such as http://127.0.0.1:6066"
            )
    return given


OPTIONS = (
    click.option(
        "--url",
        "urls",
        multiple=True,
        callback=_url,
        metavar="URL",
        help="URL of any worker; several are tried in turn.  Default: the address in "
        "STREAMS_HTTP_HOST and STREAMS_HTTP_PORT.",
    ),
    click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="File with the bearer token, read again when it expires.  Default: STREAMS_TOKEN.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0),
        default=RETRY_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long to retry while no worker can answer.",
    ),
)
"""Options of all these commands, except `--json`."""
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")


def client_command(
    group: click.Group = ours, name: str | None = None
) -> Callable[[Command], click.Command]:
    """Register a coroutine function `f(client, show, **options)` as a command."""

    def register(function: Command) -> click.Command:
        def run(
            context: click.Context,
            /,
            urls: tuple[str, ...],
            token_file: Path | None,
            timeout: float,
            as_json: bool,
            **given: Any,
        ) -> NoReturn:
            show = Printer(as_json or json_wanted(context))

            async def work(client: Client) -> None:
                await function(client, show, **given)

            sys.exit(ask(work, urls, token_file, timeout))

        decorated: Any = click.pass_context(run)
        for option in (*reversed(OPTIONS), _JSON):
            decorated = option(decorated)
        # The command's own options come first in its help.
        decorated.__click_params__ += getattr(function, "__click_params__", [])
        return group.command(name or function.__name__, help=function.__doc__)(decorated)

    return register


def ask(
    work: Callable[[Client], Awaitable[None]],
    urls: tuple[str, ...],
    token_file: Path | None,
    timeout: float,
) -> int:
    """Run `work` with a client; print any error and return the exit code."""
    return exit_code(lambda: asyncio.run(_work(work, urls, token_file, timeout)))


async def _work(
    work: Callable[[Client], Awaitable[None]],
    urls: tuple[str, ...],
    token_file: Path | None,
    timeout: float,
) -> int:
    from streams.client import Client

    settings = Settings.from_env()
    token = settings.token or None
    client = Client(
        *(urls or (settings.advertised_url,)),
        token=token if token_file is None else lambda: token_file.read_text().strip(),
        ssl=settings.http_client_tls() if settings.http_tls_cafile else None,
        retry_seconds=timeout,
    )
    interrupted = _cancelled_by_signals()
    try:
        async with client:
            await work(client)
    except asyncio.CancelledError:
        if interrupted():
            raise KeyboardInterrupt from None
        raise
    return 0


def _cancelled_by_signals() -> Callable[[], bool]:
    """Let the first Ctrl-C, SIGTERM or SIGHUP cancel this task; return what tells of it."""
    task = asyncio.current_task()
    assert task is not None
    came = False

    def interrupt() -> None:
        nonlocal came
        if not came:
            came = True
            task.cancel()

    for number in stopping_signals():
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    return lambda: came
