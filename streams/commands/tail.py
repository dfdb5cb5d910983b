"""`streams tail`: shows the records of a topic, decoded, as they come."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click
from confluent_kafka import Message
from faust.cli.base import argument, option

from streams.commands.base import StreamsCommand
from streams.commands.topiclog import TopicLog, as_bytes, headers
from streams.errors import StreamsError
from streams.settings import TABLES, Settings


class tail(StreamsCommand):
    """Show the records of TOPIC, decoded, as they come.

    TOPIC is group-events, queue-events, dead-letters, members-changelog or
    queues-changelog, or the full name of any other topic.
    """

    options = (
        argument("topic"),
        option("--key", help="Only records with this key (a group, or a queue)."),
        option(
            "--type",
            "types",
            multiple=True,
            show_default=False,
            help="Only records of this type, as in Bind or Routed; may be given more than once.",
        ),
        option(
            "--since",
            metavar="TIME",
            help="Begin at a time: 90s, 15m, 2h or 1d ago, or as in 2026-08-20T18:00Z.",
        ),
        option("--from-beginning", is_flag=True, help="Begin with the oldest record there is."),
        option(
            "--follow/--no-follow",
            default=True,
            help="Wait for more, or end with the last record there is now.",
        ),
        option("--json", "as_json", is_flag=True, help="One JSON object a line."),
    )

    def execute_now(
        self,
        topic: str,
        key: str | None,
        types: tuple[str, ...],
        since: str | None,
        from_beginning: bool,
        follow: bool,
        as_json: bool,
        **_: Any,
    ) -> int:
        """Print records until there are no more, or Ctrl-C."""
        settings = Settings.from_env()
        name = full_name(settings, topic)
        show = _as_json if as_json or self.json else _as_text
        with TopicLog(settings) as log:
            start, end = _range(log, name, since, from_beginning)
            messages = log.follow(name, start) if follow else log.read(name, start, end)
            for message in _wanted(messages, key, types):
                click.echo(show(describe(message)))
        return 0


def full_name(settings: Settings, topic: str) -> str:
    """Return the topic that a short name stands for; any other name stands for itself."""
    short = {
        "group-events": settings.group_events,
        "queue-events": settings.queue_events,
        "dead-letters": settings.dead_letters,
        **{f"{table}-changelog": settings.changelog(table) for table in TABLES},
    }
    return short.get(topic, topic)


def describe(message: Message) -> dict[str, Any]:
    """Return a record as plain JSON values: where, when, key, type, and its fields or raw bytes.

    Fields stand under `value`; what cannot be decoded stands under `raw` with `problem`.
    """
    from streams.events.codec import decode
    from streams.fold import BadRecord

    found = {name: _text(value) for name, value in headers(message).items()}
    record: dict[str, Any] = {
        "partition": message.partition(),
        "offset": message.offset(),
        "at": iso(message.timestamp()[1]),
        "key": _text(as_bytes(message.key())),
        "type": found.pop("type", None),
    }
    if found:
        record["headers"] = found
    value = as_bytes(message.value())
    try:
        event = decode(value)
    except BadRecord as problem:
        if value is None:
            return {**record, "value": None}
        return {**record, "raw": _text(value), "problem": str(problem)}
    record["type"] = type(event).__name__
    return {**record, "value": plain(dataclasses.asdict(event))}


def plain(value: Any) -> Any:
    """Return a value of records as JSON can hold it; the encoded messages in a Routed too."""
    from streams.events.codec import decode
    from streams.fold import BadRecord

    match value:
        case bytes():
            try:
                return plain(dataclasses.asdict(decode(value)))
            except BadRecord:
                return _text(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def iso(milliseconds: int) -> str:
    """Return a time as ISO 8601 in UTC."""
    if milliseconds < 0:
        return "-"
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_since(text: str, now: float) -> int:
    """Return the time that `text` means, in milliseconds; `now` is in seconds.

    Raises:
        StreamsError: it is neither a span of time nor a date.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return int((now - float(ago[1]) * _UNIT_SECONDS[ago[2]]) * 1000)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise StreamsError(
            f"--since {text!r}: give 90s, 15m, 2h or 1d, or a time as in 2026-08-20T18:00Z"
        ) from None
    return int(at.timestamp() * 1000)


def _range(
    log: TopicLog, topic: str, since: str | None, from_beginning: bool
) -> tuple[dict[int, int], dict[int, int]]:
    if since is not None and from_beginning:
        raise click.UsageError("give --since or --from-beginning, not both")
    bounds = {number: log.bounds(topic, number) for number in log.partitions(topic)}
    end = {number: bound.high for number, bound in bounds.items()}
    if from_beginning:
        return {number: bound.low for number, bound in bounds.items()}, end
    if since is not None:
        return log.offsets_at(topic, parse_since(since, time.time())), end
    return dict(end), end


def _wanted(
    messages: Iterator[Message] | Iterator[Message | None], key: str | None, types: tuple[str, ...]
) -> Iterator[Message]:
    wanted_key = None if key is None else key.encode()
    wanted_types = {name.lower() for name in types}
    for message in messages:
        if message is None or (wanted_key is not None and as_bytes(message.key()) != wanted_key):
            continue
        if wanted_types and _type(message).lower() not in wanted_types:
            continue
        yield message


def _type(message: Message) -> str:
    """Return the record type by the header, or by the record itself when it has none."""
    named = headers(message).get("type")
    return named.decode(errors="replace") if named else str(describe(message)["type"])


def _as_json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)


_KEYS = ("group", "queue")
"""Fields that are not shown a second time when they are the key."""


def _as_text(record: dict[str, Any]) -> str:
    place = f"{record['at']} {record['partition']}@{record['offset']}"
    words = [place, str(record["type"] or "-"), str(record["key"])]
    value = record.get("value")
    if isinstance(value, dict):
        words += [
            f"{name}={_short(item)}"
            for name, item in value.items()
            if item not in (None, "", [], {}) and (name not in _KEYS or item != record["key"])
        ]
    elif "raw" in record:
        words += [f"({record['problem']})", _short(record["raw"])]
    else:
        words.append("(no value)")
    words += [f"{name}:{_short(item)}" for name, item in record.get("headers", {}).items()]
    return " ".join(words)


def _short(value: Any, limit: int = 300) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text if text.isprintable() and " " not in text else json.dumps(text, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()
