"""What must have happened, read off the finished logs by the rules of the model alone.

Independent of the folds: no rows, no watermarks, no packing.  Whole logs are walked once,
what was seen is kept in sets, and every rule is written as the design states it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.events.codec import decode
from streams.events.records import (
    Ack,
    Bind,
    BindPattern,
    Close,
    Message,
    Open,
    Routed,
    Unbind,
    UnbindPattern,
)
from streams.fold import BadRecord, Record

Place = tuple[int, int]
"""Partition and offset of a message in group-events."""

Binding = tuple[str, str]
"""Group and queue."""


@dataclass
class Groups:
    """What group-events says: who is bound at the end, and who had to get each message."""

    bound: dict[Binding, str | None] = field(default_factory=dict)
    """Binding -> its session, None for a permanent one."""
    patterns: dict[Binding, set[str]] = field(default_factory=dict)
    """The patterns of a binding that has any."""
    receivers: dict[Place, set[str]] = field(default_factory=dict)
    """Each message that counts -> the queues bound at its position."""
    messages: dict[Place, Message] = field(default_factory=dict)


def groups(logs: list[list[Record]], window_ms: int, log_number: int) -> Groups:
    """Walk group-events; `log_number` is that of queue-events."""
    result = Groups()
    for partition, log in enumerate(logs):
        asked: set[tuple[int, int, int]] = set()
        covered: dict[Binding, list[str]] = defaultdict(list)
        last_seen: dict[tuple[str, str, str], int] = {}
        time = 0
        for record in log:
            try:
                event = decode(record.value)
            except BadRecord:
                continue
            if isinstance(event, BindPattern | UnbindPattern):
                _change_pattern(result, covered, event)
                continue
            if not isinstance(event, Bind | Unbind | Message) or _is_foreign(event, log_number):
                continue
            if isinstance(event, Bind | Unbind):
                if _again(event, asked):
                    continue
                _change(result.bound, covered, event)
                binding = (event.group, event.queue)
                if binding not in result.bound or (
                    isinstance(event, Bind) and event.session is None and event.replaces is None
                ):
                    result.patterns.pop(binding, None)
            else:
                if _again(event, asked):
                    continue
                time = max(time, record.timestamp)
                name = (event.group, event.sender, event.id)
                place = (partition, record.offset)
                if event.expires_at is not None and event.expires_at <= time:
                    continue
                if event.origin is None:
                    if name in last_seen and time - last_seen[name] <= window_ms:
                        if event.receipt and event.sender:
                            ident = f"duplicate-{partition}-{record.offset}"
                            result.messages[place] = Message(ident, "@" + event.sender, "")
                            result.receivers[place] = {event.sender}
                        continue  # the publisher sent it again
                    last_seen[name] = time
                result.messages[place] = event
                if event.group.startswith("@"):
                    result.receivers[place] = {event.group[1:]}
                else:
                    result.receivers[place] = {
                        queue
                        for group, queue in result.bound
                        if group == event.group
                        and _wants(result.patterns.get((group, queue)), event.headers)
                    }
                if not event.echo:
                    result.receivers[place].discard(event.sender)
    return result


def _wants(patterns: set[str] | None, headers: Mapping[str, str]) -> bool:
    """Tell whether a binding gets a message: the words of its routing key match a pattern."""
    if patterns is None:
        return True
    key = headers.get("routing-key")
    if key is None or len(key.encode()) > 255:
        return any(pattern and set(pattern.split(".")) == {"#"} for pattern in patterns)
    return any(matches(pattern, key) for pattern in patterns)


def matches(pattern: str, key: str) -> bool:
    """Tell whether a routing key matches a pattern, by a regular expression."""
    kinds = {"#": r"(?:[^.]*\.)*", "*": r"[^.]*\."}
    words = pattern.split(".") if pattern else []
    regex = "".join(kinds.get(word, re.escape(word) + r"\.") for word in words)
    return re.fullmatch(regex, key + "." if key else "", re.DOTALL) is not None


def _change_pattern(
    result: Groups, covered: dict[Binding, list[str]], event: BindPattern | UnbindPattern
) -> None:
    binding = (event.group, event.queue)
    patterns = result.patterns.get(binding)
    if isinstance(event, UnbindPattern):
        if patterns and event.pattern in patterns:
            patterns.discard(event.pattern)
            if not patterns:
                del result.patterns[binding], result.bound[binding]
    elif patterns is not None:
        patterns.add(event.pattern)
    elif binding not in result.bound or result.bound[binding] is not None:
        covered[binding].clear()
        result.bound[binding] = None
        result.patterns[binding] = {event.pattern}


def _is_foreign(event: Bind | Unbind | Message, log_number: int) -> bool:
    """Tell whether only a fold may write such an event, and no fold of this system did."""
    if event.origin is None:
        return isinstance(event, Bind) and event.replaces is not None
    return event.origin.log != log_number


def _again(event: Bind | Unbind | Message, asked: set[tuple[int, int, int]]) -> bool:
    """Tell whether a replay of the deliver fold asked for this again."""
    if event.origin is None:
        return False
    origin = (event.origin.partition, event.origin.offset, event.origin.part)
    if origin in asked:
        return True
    asked.add(origin)
    return False


def _change(
    bound: dict[Binding, str | None], covered: dict[Binding, list[str]], event: Bind | Unbind
) -> None:
    binding = (event.group, event.queue)
    if binding not in bound:
        if isinstance(event, Bind) and event.replaces is None:
            bound[binding] = event.session
        return
    held = bound[binding]
    layers = covered[binding]
    if held is None:  # a permanent binding stays, until it is unbound for all
        if isinstance(event, Unbind) and event.session is None:
            del bound[binding]
    elif event.session is None and (isinstance(event, Unbind) or event.replaces is None):
        layers.clear()
        if isinstance(event, Bind):
            bound[binding] = None
        else:
            del bound[binding]
    elif isinstance(event, Unbind):
        stack = [session for session in (*layers, held) if session != event.session]
        if stack:
            *covered[binding], bound[binding] = stack
        else:
            del bound[binding]
    elif event.replaces not in (None, held):
        covered[binding] = [session for session in layers if session != event.replaces]
    elif held != event.session:
        assert event.session is not None
        under = layers if event.replaces else [*layers, held]
        covered[binding] = [session for session in under if session != event.session]
        bound[binding] = event.session


@dataclass
class Queues:
    """What queue-events says: what each queue got, what is left of it, and its session."""

    got: dict[str, list[tuple[int, Place]]] = field(default_factory=lambda: defaultdict(list))
    """Every (seq, message) of a queue, once, as it came."""
    left: dict[str, dict[int, Place]] = field(default_factory=lambda: defaultdict(dict))
    """seq -> message that was not acked."""
    session: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Groups that the open session asked for."""


def queues(logs: list[list[Record]], seqs_per_record: int, log_number: int) -> Queues:
    """Walk queue-events; `log_number` is that of group-events."""
    result = Queues()
    for log in logs:
        seen: set[tuple[int, int, str]] = set()
        for record in log:
            try:
                event = decode(record.value)
            except BadRecord:
                continue
            match event:
                case Routed() if event.log == log_number:
                    seq = record.offset * seqs_per_record
                    for offset, receivers in zip(
                        event.delivery_offsets, event.delivery_queues, strict=True
                    ):
                        for queue in receivers:
                            seq += 1
                            if (event.source, offset, queue) not in seen:
                                seen.add((event.source, offset, queue))
                                place = (event.source, offset)
                                result.got[queue].append((seq, place))
                                result.left[queue][seq] = place
                case Ack():
                    left = result.left[event.queue]
                    for seq in list(left):
                        if seq in event.seqs or (event.upto is not None and seq <= event.upto):
                            del left[seq]
                case Open():
                    if result.session.get(event.queue) != event.session:
                        result.wanted[event.queue] = set()
                    result.session[event.queue] = event.session
                    result.wanted[event.queue] |= set(event.groups)
                case Close():
                    if result.session.get(event.queue) == event.session:
                        del result.session[event.queue]
                        result.wanted[event.queue] = set()
    return result
