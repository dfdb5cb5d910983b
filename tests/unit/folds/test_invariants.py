"""I1 to I6 of the design, over random events, crashes, replays and zombies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
import semantics
from core_rows import rows_in  # noqa: F401 - all tests run twice
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from two_logs import LOGS, TABLES, WINDOW_MS, TwoLogs

from streams.events.codec import decode, encode
from streams.events.records import (
    Ack,
    Bind,
    BindPattern,
    Close,
    Message,
    Open,
    Origin,
    Routed,
    Unbind,
    UnbindPattern,
)
from streams.fold import BadRecord
from streams.folds import deliver, fans, inbox, jobs, packing, route, views
from streams.folds import patterns as patterns_of_bindings
from streams.folds import sessions as session_rows
from streams.folds.row_keys import split_row_key

PARTITIONS = 2
SEQS_PER_RECORD = 6

groups = st.sampled_from(["g0", "g1"])
queues = st.sampled_from(["q0", "q1", "q2", "q3", "q4", "q5"])
sessions = st.sampled_from(["s0", "s1", "s2"])
idents = st.sampled_from([f"m{number}" for number in range(40)])
senders = st.sampled_from(["", "me", "you"])
keys = st.sampled_from(["", "a", "b", "a.b", "b.a.a", "a" * 300])
patterns = st.sampled_from(["", "a", "*", "#", "a.b", "*.b", "#.a", "a.#", "#.#"])
numbers = st.sampled_from([0, 1, LOGS.group_events - 1, LOGS.queue_events + 1])
tables = st.sampled_from(TABLES)
partitions = st.integers(0, PARTITIONS - 1)
counts = st.integers(0, 12)
kept = st.lists(st.integers(0, 4), min_size=PARTITIONS, max_size=PARTITIONS)
back = st.integers(0, 3)


def steps(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.just(name), *arguments)


WEIGHTS = [
    (4, steps("bind", groups, queues, st.none())),
    (3, steps("bind", groups, queues, sessions)),
    (3, steps("bind_pattern", groups, queues, patterns)),
    (1, steps("unbind_pattern", groups, queues, patterns)),
    (4, steps("keyed", idents, groups, senders, keys)),
    (1, steps("unbind", groups, queues, st.none() | sessions)),
    (6, steps("message", idents, groups, senders)),
    (1, steps("message", idents, queues.map("@".__add__), senders)),
    (2, steps("ack", queues, st.integers(0, 8), st.booleans())),
    (2, steps("open", queues, sessions, st.sets(groups))),
    (1, steps("close", queues, sessions)),
    (1, steps("tick", st.integers(-200, 700))),
    (1, steps("garbage", st.sampled_from(["group-events", "queue-events"]), partitions)),
    (2, steps("copy", groups, queues, partitions, numbers)),
    (3, steps("everyone", counts)),
    (3, steps("later", tables, partitions, counts)),
    (3, steps("work", tables, partitions, counts)),
    (2, steps("checkpoint", tables, partitions)),
    (2, steps("crash", tables, partitions, counts, kept, back)),
    (2, steps("pause", tables, partitions, back)),
    (3, steps("wake", tables, partitions, counts, st.none() | kept)),
]
scripts = st.lists(
    st.one_of([step for weight, step in WEIGHTS for _ in range(weight)]),
    min_size=60,
    max_size=160,
)


@pytest.fixture(autouse=True, scope="module")
def _small_limits() -> Iterator[None]:
    """Make what is split at thousands split at a few."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (packing, deliver, jobs):
            patch.setattr(module, "SEQS_PER_RECORD", SEQS_PER_RECORD)
        patch.setattr(packing, "CHANGES_PER_RECORD", 3)
        patch.setattr(route, "QUEUES_PER_ENTRY", 2)
        patch.setattr(deliver, "SHARED_FROM", 1)
        patch.setattr(session_rows, "AT_ONCE", 1)
        patch.setattr(deliver, "_CLOSED_PER_TICK", 1)
        patch.setattr(patterns_of_bindings, "_CACHED", 3)
        patch.setattr(patterns_of_bindings, "_KEYS", 1)
        for module in (route, fans):
            patch.setattr(module, "LARGEST", 3)
        patch.setattr(route, "_PURGED_PER_MESSAGE", 2)
        for fold in (route, deliver):
            patch.setattr(fold, "_STEP", 1)
        for part in (inbox, session_rows, jobs):
            patch.setattr(part, "STEP", 1)
        yield


def play(script: list[tuple[Any, ...]]) -> TwoLogs:
    """Run a script and let everything settle."""
    world = TwoLogs(PARTITIONS)
    run(world, script)
    # A clock that has gone back catches up, or what is due would not come.
    records = chain.from_iterable(chain.from_iterable(world.logs.values()))
    world.clock = max(world.clock, *(record.timestamp for record in records), 0)
    world.settle()
    return world


def run(world: TwoLogs, script: list[tuple[Any, ...]]) -> None:
    """Run a script."""
    for name, *arguments in script:
        match name, arguments:
            case "bind", [group, queue, session]:
                world.publish(Bind(group, queue, session))
            case "unbind", [group, queue, session]:
                world.publish(Unbind(group, queue, session))
            case "bind_pattern", [group, queue, pattern]:
                world.publish(BindPattern(group, queue, pattern))
            case "unbind_pattern", [group, queue, pattern]:
                world.publish(UnbindPattern(group, queue, pattern))
            case "keyed", [ident, group, sender, key]:
                echo = sender != "me"
                headers = {"routing-key": key}
                world.publish(Message(ident, group, sender, headers=headers, echo=echo))
            case "message", [ident, group, sender]:
                world.publish(Message(ident, group, sender))
            case "ack", [queue, count, one_by_one]:
                world.publish(_ack(world, queue, count, one_by_one))
            case "open", [queue, session, wanted]:
                world.publish(Open(queue, session, tuple(wanted)))
            case "close", [queue, session]:
                world.publish(Close(queue, session))
            case "tick", [milliseconds]:
                world.clock += milliseconds
            case "garbage", [topic, partition]:
                world.append(topic, partition, b"g0", b"\xc3\x01 no record")
            case "copy", [group, queue, partition, number]:
                copy_of_another_system(world, group, queue, partition, number)
            case _:
                getattr(world, name)(*arguments)


def copy_of_another_system(
    world: TwoLogs, group: str, queue: str, partition: int, number: int
) -> None:
    """Append what another system's folds wrote, at positions that this system reaches late."""
    origin = Origin(partition, 1 << 40, 0, number)
    world.publish(Bind(group, queue, "s0", origin=origin))
    world.publish(Bind(group, queue, "s1", replaces="s0"))
    world.publish(Unbind(group, queue, "s0", origin=origin))
    world.publish(Message("copy", "@" + queue, "me", origin=origin))
    message = encode(Message("copy", group, "me"))
    for lane in (0, 1):
        world.publish(
            Routed(
                partition,
                *((1 << 40,), b"\1", (group,), (queue,), ("",)),
                *((1 << 40,), (0,), (message,), ((queue,),)),
                lane,
                number,
            )
        )


def _ack(world: TwoLogs, queue: str, count: int, one_by_one: bool) -> Ack:
    """Ack what a reader sees: the owner's rows, the first ones or every other."""
    seen = [
        seq for rows in world.rows("queues") for seq, _ in views.inbox(rows, queue, limit=count)
    ]
    if one_by_one:
        return Ack(queue, seqs=tuple(seen[::2]))
    return Ack(queue, upto=seen[-1] if seen else 0)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scripts, st.integers(1, 20))
def test_invariants(script: list[tuple[Any, ...]], chunk: int) -> None:
    # Given any events, and anything that happens to the workers meanwhile
    world = play(script)
    group_logs, queue_logs = world.logs["group-events"], world.logs["queue-events"]
    expected = semantics.groups(group_logs, WINDOW_MS, LOGS.queue_events)
    arrived = semantics.queues(queue_logs, SEQS_PER_RECORD, LOGS.group_events)
    event(f"deliveries: {sum(map(len, arrived.got.values())) // 20 * 20}")

    # I1, I2: each message got to the queues bound at its position, once, and to no other
    got: dict[semantics.Place, list[str]] = defaultdict(list)
    for queue, deliveries in arrived.got.items():
        for _, place in deliveries:
            got[place].append(queue)
    wanted = {place: sorted(names) for place, names in expected.receivers.items() if names}
    assert {place: sorted(names) for place, names in got.items()} == wanted

    # I3: in the order of the log within a group
    for deliveries in arrived.got.values():
        seqs = [seq for seq, _ in deliveries]
        assert seqs == sorted(set(seqs))
        for group in {expected.messages[place].group for _, place in deliveries}:
            of_group = [p for _, p in deliveries if expected.messages[p].group == group]
            assert of_group == sorted(of_group)

    # I1, I6: inboxes hold what was not acked, all of it, as it was sent
    inboxes = {}
    for rows in world.rows("queues"):
        for queue in _owners(rows, "delivery"):
            inboxes[queue] = [(seq, m.id, m.group) for seq, m in views.inbox(rows, queue)]
    assert inboxes == {
        queue: [
            (seq, expected.messages[place].id, expected.messages[place].group)
            for seq, place in sorted(left.items())
        ]
        for queue, left in arrived.left.items()
        if left
    }

    # The members are those that the log says, and I4: the bindings are the inverse
    members = {
        (group, member.queue): member.session
        for rows in world.rows("members")
        for group in _owners(rows, "member")
        for queue in views.members(rows, group)[0]
        if (member := views.member(rows, group, queue))
    }
    assert members == expected.bound
    patterns = {
        (group, queue): set(found)
        for rows in world.rows("members")
        for group in _owners(rows, "member")
        for queue in views.members(rows, group)[0]
        if (found := views.binding_patterns(rows, group, queue))
    }
    assert patterns == expected.patterns
    for rows in world.rows("members"):
        for group in _owners(rows, "member"):
            count = sum(len(found) for (name, _), found in patterns.items() if name == group)
            assert views.pattern_count(rows, group) == count
    bindings = {
        (group, queue): views.binding(rows, queue, group)[1]
        for rows in world.rows("queues")
        for queue in _owners(rows, "binding")
        for group in views.groups(rows, queue)[0]
    }
    assert bindings == members

    # Sessions: what is bound within one ends with it, and what it asked for is there
    for (_, queue), session in members.items():
        assert session in (None, arrived.session.get(queue))
    meddled = _meddled(world)
    for queue, names in arrived.wanted.items():
        assert {g for g in names if (g, queue) not in meddled} <= {
            g for g, q in members if q == queue
        }

    # I5: tables built from the logs are the same, byte for byte
    for table in TABLES:
        for live, rebuilt in zip(world.rows(table), world.rebuilt(table, chunk), strict=True):
            assert list(live.items()) == list(rebuilt.items())


def _owners(rows: Any, kind: str) -> set[str]:
    table = "members" if kind == "member" else "queues"
    names = (split_row_key(table, key) for key, _ in rows.items())
    return {name.owner for name in names if name.kind == kind}


def _meddled(world: TwoLogs) -> set[semantics.Binding]:
    """Return bindings that a client unbound."""
    found = set()
    for log in world.logs["group-events"]:
        for record in log:
            try:
                change = decode(record.value)
            except BadRecord:
                continue
            if isinstance(change, UnbindPattern) or (
                isinstance(change, Unbind) and change.origin is None
            ):
                found.add((change.group, change.queue))
    return found
