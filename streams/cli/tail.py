"""`streams tail`: prints the records of a topic, decoded, as they arrive."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from streams.cli import times
from streams.cli.base import StreamsCommand, argument, option
from streams.errors import StreamsError
from streams.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Message

    from streams.operate.topic_log import Hold, TopicLog

LOOK_SECONDS = 2.0
"""Time between two looks for open transactions."""


class tail(StreamsCommand):
    """Print the records of TOPIC, decoded, as they arrive.

    TOPIC is group-events, queue-events, dead-letters, members-changelog or
    queues-changelog, or the full name of any other topic.
    """

    options = (
        argument("topic"),
        option("--key", help="Only records with this key: a group or a queue."),
        option(
            "--type",
            "types",
            multiple=True,
            show_default=False,
            help="Only records of this type, such as Bind or Routed; may be repeated.",
        ),
        option(
            "--since",
            metavar="TIME",
            help="Start at this time: 90s, 15m, 2h or 1d ago, or such as 2026-08-20T18:00Z.",
        ),
        option("--from-beginning", is_flag=True, help="Start at the oldest record."),
        option(
            "--follow/--no-follow",
            default=True,
            help="Wait for more records, or stop at the current end.",
        ),
        option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
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
        """Print records until the end or Ctrl-C."""
        from streams.operate.records import describe_record
        from streams.operate.topic_log import TopicLog
        from streams.operate.topic_names import full_name

        settings = Settings.from_env()
        name = full_name(settings, topic)
        show = _as_json if as_json or self.json else _as_text
        with TopicLog(settings) as log:
            start, end = _range(log, name, since, from_beginning)
            messages = _told(log, name, start) if follow else log.read(name, start, end)
            wanted_types = {kind.lower() for kind in types}
            for message in _with_key(messages, key):
                record = describe_record(settings, message, log.translated)
                if not wanted_types or str(record["type"]).lower() in wanted_types:
                    click.echo(show(record))
            if not follow:
                for hold in log.lasting_holds(name, start):
                    _tell(hold)
        return 0


def parse_since(text: str, now: float) -> int:
    """Return the time that `text` stands for, in milliseconds; `now` is in seconds.

    Raises:
        StreamsError: it is neither a duration nor a time.
    """
    ago = times.span(text)
    if ago is not None:
        return int((now - ago) * 1000)
    at = times.date(text)
    if at is None:
        raise StreamsError(
            f"--since {text!r}: give 90s, 15m, 2h or 1d, or a time such as 2026-08-20T18:00Z"
        )
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


def _told(log: TopicLog, topic: str, start: Mapping[int, int]) -> Iterator[Message | None]:
    """Yield records without end; say once of each open transaction that holds some back."""
    looked = time.monotonic()
    before: set[Hold] = set()
    told: set[Hold] = set()
    for message in log.follow(topic, start):
        yield message
        if time.monotonic() - looked >= LOOK_SECONDS:
            found = set(log.holds(topic, start))
            for hold in sorted(found & before - told):
                _tell(hold)
            # What is seen twice lasts: checkpoints are transactions, too, but short ones.
            told = (told | before) & found
            looked, before = time.monotonic(), found


def _tell(hold: Hold) -> None:
    click.echo(f"streams: {hold}", err=True)


def _with_key(
    messages: Iterator[Message] | Iterator[Message | None], key: str | None
) -> Iterator[Message]:
    from streams.operate.topic_log import as_bytes

    wanted = None if key is None else key.encode("utf-8", "surrogateescape")
    for message in messages:
        if message is not None and (wanted is None or as_bytes(message.key()) == wanted):
            yield message


def _as_json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)


_KEYS = ("group", "queue")
"""Fields that are left out when they repeat the key."""


def _as_text(record: dict[str, Any]) -> str:
    place = f"{record['at']} {record['partition']}@{record['offset']}"
    words = [place, str(record["type"] or "-"), str(record["key"])]
    value = record.get("value")
    if isinstance(value, dict):
        words += [
            f"{name}[{len(item)}]={_short(item)}"
            if isinstance(item, list)
            else f"{name}={_short(item)}"
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
