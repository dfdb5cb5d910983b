"""The core does what the Python folds do, byte for byte, whatever the log holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twins import Twins, needs_core

from streams.events.codec import encode, encode_change
from streams.events.records import (
    Ack,
    Bind,
    BindPattern,
    Close,
    Configure,
    Event,
    Level,
    Message,
    Open,
    Origin,
    Routed,
    Tick,
    Unbind,
    UnbindPattern,
)
from streams.fold import Rows
from streams.folds import route
from streams.folds.counts import Counts
from streams.folds.deliver import Deliver
from streams.folds.log_numbers import LogNumbers
from streams.folds.notices import Notices
from streams.folds.route import Route
from streams.folds.row_keys import FOUNDATION
from streams.kafka.partitioner import partition_of

pytestmark = needs_core

LOGS = LogNumbers(7, (1 << 63) - 1, unnumbered_until=1_020)
PARTITIONS = 3
Pair = tuple[bytes | None, bytes | None]
Script = Sequence["str | list[Pair]"]

SETTINGS = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    max_examples=int(os.environ.get("CORE_EXAMPLES", "100")),
)


def _of_partition_0(prefix: str, count: int) -> list[str]:
    names = (f"{prefix}{number}" for number in range(1000))
    return [name for name in names if partition_of(name.encode(), PARTITIONS) == 0][:count]


ODD = ["é" * 31, "x" * 63, "x" * 64, "\u2028", "\xa0", "\x7f", "\x85", "", "@q", "\U0001f600", " "]
GROUPS = [*_of_partition_0("g", 3), *_of_partition_0("é", 1), "g0", "g1", *ODD]
QUEUES = ["q", "q1", "q2", "r", "sé", *ODD]
SESSIONS = ["s", "t", *ODD]

groups = st.one_of(st.sampled_from(GROUPS[:3]), st.sampled_from(GROUPS))
queues = st.one_of(st.sampled_from(QUEUES[:3]), st.sampled_from(QUEUES))
sessions = st.one_of(st.none(), st.sampled_from(SESSIONS[:2]), st.sampled_from(SESSIONS))
numbers = st.one_of(st.integers(0, 3), st.sampled_from([127, 1 << 14, (1 << 31) - 1, 1 << 40]))
origins = st.one_of(
    st.none(),
    st.none(),
    st.builds(
        Origin,
        st.sampled_from([0, 1, 2, 2, 3, -1]),
        numbers,
        st.sampled_from([0, 1, 2, (1 << 31) - 1]),
        st.sampled_from([LOGS.queue_events, LOGS.queue_events, LOGS.queue_events, 0, 5]),
    ),
)
binds = st.builds(
    Bind,
    group=groups,
    queue=queues,
    session=sessions,
    at=numbers,
    origin=origins,
    replaces=st.one_of(st.none(), st.none(), st.none(), sessions),
)
unbinds = st.builds(Unbind, group=groups, queue=queues, session=sessions, origin=origins)
plain_messages = st.builds(
    Message,
    id=st.text("abc", min_size=1, max_size=2),
    group=st.sampled_from([*GROUPS[:2], _of_partition_0("@q", 1)[0]]),
    sender=st.sampled_from(["", "q", "q1"]),
    body=st.just(b"body"),
    echo=st.booleans(),
)
patterns = [
    st.builds(
        kind,
        group=st.sampled_from([*GROUPS[:2], "x" * 64]),
        queue=st.sampled_from(["q", "q1", "r"]),
        pattern=st.sampled_from(["", "a", "*", "#", "a.#"]),
    )
    for kind in (BindPattern, UnbindPattern)
]
keyed_messages = st.builds(
    Message,
    id=st.text("abc", min_size=1, max_size=2),
    group=st.sampled_from(GROUPS[:2]),
    sender=st.sampled_from(["", "q"]),
    headers=st.sampled_from(["", "a", "a.b"]).map(lambda key: {"routing-key": key}),
    echo=st.booleans(),
)
# Few names, so that they meet: sessions that cover each other, replays, unbinds of what was bound.
usual = st.one_of(
    *[
        st.builds(
            kind,
            group=st.sampled_from(GROUPS[:2]),
            queue=st.sampled_from(["q", "q1"]),
            session=st.sampled_from([None, "s", "t"]),
            origin=st.one_of(
                st.none(),
                st.none(),
                st.builds(
                    Origin,
                    st.integers(0, 1),
                    st.integers(0, 9),
                    st.integers(0, 1),
                    st.just(LOGS.queue_events),
                ),
            ),
        )
        for kind in (Bind, Unbind)
    ]
)
messages = st.builds(
    Message,
    id=st.text("ab", min_size=1, max_size=3),
    group=st.one_of(groups, st.just("@q")),
    sender=queues,
    body=st.binary(max_size=8),
    echo=st.booleans(),
)


@st.composite
def damaged(draw: st.DrawFn, events: st.SearchStrategy[Event]) -> bytes:
    """Draw an encoded event of which a few bytes are changed, cut off or added."""
    value = bytearray(encode(draw(events)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(value) - 1))
        match draw(st.sampled_from(["change", "cut", "add"])):
            case "change":
                value[place] = draw(st.integers(0, 255))
            case "cut":
                del value[max(1, place) :]
            case _:
                value[place:place] = draw(st.binary(min_size=1, max_size=10))
    return bytes(value)


def _key(event: Event) -> bytes:
    match event:
        case Bind() | Unbind() | Message() | BindPattern() | UnbindPattern():
            return event.group.encode()
        case Routed() | Tick() | Level():
            return _of_partition_0("q", 1)[0].encode()
        case _:
            return event.queue.encode()


def _pairs(events: st.SearchStrategy[Event]) -> st.SearchStrategy[Pair]:
    keys = st.one_of(st.none(), st.just(b""), st.sampled_from(GROUPS).map(str.encode))
    return st.one_of(
        *[events.map(lambda event: (_key(event), encode(event)))] * 8,
        st.tuples(keys, st.one_of(st.none(), st.binary(max_size=20), events.map(encode))),
        st.tuples(st.sampled_from(GROUPS[:3]).map(str.encode), damaged(events)),
    )


def scripts(
    events: st.SearchStrategy[Event], usual: st.SearchStrategy[Event]
) -> st.SearchStrategy[Script]:
    """Chunks, checkpoints that last while others are folded, and crashes."""
    pairs: st.SearchStrategy[Pair] = usual.map(lambda event: (_key(event), encode(event)))
    plain = st.lists(pairs, min_size=1, max_size=12)
    mixed = st.lists(_pairs(st.one_of(events, usual)), min_size=1, max_size=12)
    # Longer than what the engine folds between two looks at the clock.
    chunk = st.one_of(mixed, plain, plain.map(lambda pairs: pairs * 12))
    steps = st.one_of(chunk, chunk, chunk, st.sampled_from(["checkpoint", "end", "crash"]))
    return st.lists(steps, min_size=1, max_size=14)


def play(twins: Twins, script: Script) -> None:
    for step in script:
        match step:
            case "checkpoint":
                twins.checkpoint()
            case "end":
                twins.end_checkpoint()
            case "crash":
                twins.crash()
            case str():
                raise AssertionError
            case _:
                twins.feed(step, again=len(step) % 3)


@SETTINGS
@given(
    scripts(
        st.one_of(binds, unbinds, messages, *patterns, keyed_messages),
        st.one_of(usual, usual, plain_messages),
    ),
    st.sampled_from([1, 7]),
)
def test_route(script: Script, purge_step: int) -> None:
    counts: list[Counts] = []

    def make(rows: Rows) -> Route:
        counts.append(Counts())
        return Route(rows, 0, PARTITIONS, "queue-events", LOGS, 20, counts=counts[-1])

    with mock.patch.object(route, "PURGE_STEP_MS", purge_step):
        play(Twins(make), script)
    python, native = counts[::2], counts[1::2]
    assert native == python


QUEUES_HERE = [*_of_partition_0("q", 4), "é"]
ids_here = st.sampled_from(QUEUES_HERE)
session_here = st.sampled_from(["", "", "", "s", "t"])


@st.composite
def routed(draw: st.DrawFn) -> Routed:
    changes = sorted(draw(st.sets(st.integers(0, 60), max_size=6)))
    deliveries = sorted(draw(st.sets(st.tuples(st.integers(0, 60), st.integers(0, 1)), max_size=3)))
    odd = draw(st.integers(0, 9)) == 0
    columns = tuple(tuple(draw(st.lists(ids_here, max_size=3, unique=True))) for _ in deliveries)
    message = st.builds(
        Message,
        id=st.sampled_from(["a", "b", "x" * 64]),
        group=st.sampled_from(["g", "é"]),
        sender=st.sampled_from(["", "me"]),
        body=st.sampled_from([b"", b"x" * 200, b"x" * 5000]),
        at=numbers,
        echo=st.booleans(),
        persistent=st.sampled_from([True, True, True, False]),
    )
    return Routed(
        draw(st.sampled_from([0, 0, 1, 2, 3])),
        tuple(changes),
        bytes(draw(st.integers(0, 2 if odd else 1)) for _ in changes),
        tuple(draw(st.sampled_from(["g", "h", "é", *(ODD if odd else [])])) for _ in changes),
        tuple(draw(ids_here) for _ in changes),
        tuple(draw(session_here) for _ in changes),
        tuple(offset for offset, _ in deliveries),
        tuple(part for _, part in deliveries),
        tuple(encode(draw(message)) for _ in deliveries),
        columns,
        draw(st.sampled_from([0, 0, 1, 2])) if odd else draw(st.integers(0, 1)),
        draw(st.sampled_from([7, 0, 8])) if odd else 7,
    )


queue_events = st.one_of(
    routed(),
    routed(),
    routed(),
    st.builds(Open, queue=ids_here, session=st.sampled_from(["s", "t"]), groups=st.just(("g",))),
    st.builds(Close, queue=ids_here, session=st.sampled_from(["s", "t"])),
    st.builds(Ack, queue=ids_here, upto=st.one_of(st.none(), st.integers(0, 1 << 20))),
    st.builds(Configure, queue=ids_here, max_length=st.one_of(st.none(), st.just(2))),
    st.builds(Tick),
)


@SETTINGS
@given(scripts(queue_events, routed()), st.booleans(), st.sampled_from([0, 1 << 32]))
def test_deliver(script: Script, collect: bool, base: int) -> None:
    made: list[Deliver] = []

    def make(rows: Rows) -> Deliver:
        if base:
            rows.put(FOUNDATION, b"", base.to_bytes(8, "big"))
        notices = Notices(collect=True)
        notices.collect_delivered = collect
        made.append(Deliver(rows, 0, PARTITIONS, "group-events", LOGS, Counts(), notices))
        return made[-1]

    play(Twins(make), script)
    for python, native in zip(made[::2], made[1::2], strict=True):
        assert native._counts == python._counts
        assert native.notices.drain() == python.notices.drain()


def test_a_long_chunk_of_binds_and_unbinds() -> None:
    """More than a step folds, more rows than are looked up at a time, and full records."""
    group = _of_partition_0("g", 1)[0]

    def make(rows: Rows) -> Route:
        return Route(rows, 0, 1, "queue-events", LOGS)

    def changes(name: str, first: int, last: int) -> list[Pair]:
        return [
            (group.encode(), encode_change(name, group, f"queue-{number}", None, 5))
            for number in range(first, last)
        ]

    twins = Twins(make)
    twins.feed(changes("Bind", 0, 9_000))
    twins.checkpoint()
    twins.feed(changes("Unbind", 2_000, 7_000) + changes("Bind", 1_000, 3_000))
    twins.end_checkpoint()
    twins.feed(changes("Unbind", 0, 9_000))
    twins.checkpoint()
    twins.end_checkpoint()
    assert not twins.native.below.rows
