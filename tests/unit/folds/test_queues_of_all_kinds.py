"""Queues with all they can, over random events, crashes, replays and zombies.

The two logs are as in `test_invariants`; what queues must be like is said by `reference`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import semantics
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import tick_key
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from reference import Reference, Told
from test_invariants import PARTITIONS, back, counts, kept, partitions, steps, tables
from two_logs import LOGS, TABLES, WINDOW_MS, TwoLogs

from streams.events.codec import decode, encode
from streams.events.limits import NACK_OUTCOME_VALUES
from streams.events.records import (
    Ack,
    Bind,
    Close,
    Configure,
    Delete,
    Lease,
    Message,
    Nack,
    Open,
    Purge,
    Tick,
    Touch,
)
from streams.fold import BadRecord
from streams.folds import deliver, front, inbox, jobs, packing, route, sessions, views
from streams.folds.delivery import unpack
from streams.folds.row_keys import AVAILABLE, SHARED_MESSAGES, TIMERS
from streams.folds.timers import read_timer

SEQS_PER_RECORD = 6
DUE_PER_TICK = 5

groups = st.sampled_from(["g0", "presence:q1"])
queues = st.sampled_from(["q0", "q1"])
names = st.sampled_from(["s0", "s1"])
delays = st.sampled_from([0, 1, 100, 300])
consumers = st.none() | st.sampled_from(["c0", "c1"])
some = st.lists(st.integers(0, 3), min_size=1, max_size=5, unique=True)
"""Which of the deliveries that there are."""
messages = st.fixed_dictionaries(
    {},
    optional={
        "sender": queues,
        "expires_in": st.sampled_from([-50, 50, 200]),
        "persistent": st.just(False),
        "echo": st.just(False),
        "receipt": st.booleans(),
        "priority": st.sampled_from([0, 9]),
    },
)
options = st.fixed_dictionaries(
    {"dead_letter": st.none() | st.just("q3")},
    optional={
        "max_length": st.sampled_from([1, 5]),
        "max_bytes": st.sampled_from([70, 500]),
        "overflow": st.sampled_from(["drop_oldest", "drop_newest", "reject"]),
        "max_tries": st.sampled_from([1, 2]),
        "visibility_ms": st.sampled_from([50, 500]),
        "ttl_ms": st.sampled_from([100, 1000]),
        "message_ttl_ms": st.sampled_from([1, 100]),
        "declared": st.just("d"),
        "only_new": st.booleans(),
    },
)

WEIGHTS = [
    (3, steps("bind", groups, queues)),
    (3, steps("message", groups, messages)),
    (9, steps("message", queues.map("@".__add__), messages)),
    (4, steps("ack", queues, st.integers(0, 3), st.booleans())),
    (3, steps("open", queues, names, st.sets(groups), st.none() | delays, st.booleans())),
    (1, steps("touch", queues, names)),
    (1, steps("close", queues, names)),
    (3, steps("configure", queues, options)),
    (6, steps("lease", queues, consumers, st.integers(1, 3), st.none() | delays)),
    (5, steps("nack", queues, some, st.sampled_from(NACK_OUTCOME_VALUES), delays, consumers)),
    (1, steps("purge", queues) | steps("delete", queues)),
    (4, steps("pass", st.integers(0, 150))),
    (3, steps("tick", partitions)),
    (9, steps("everyone", st.integers(5, 30))),
    (2, steps("work", tables, partitions, counts)),
    (1, steps("checkpoint", tables, partitions)),
    (1, steps("crash", tables, partitions, counts, kept, back)),
    (1, steps("pause", tables, partitions, back)),
    (2, steps("wake", tables, partitions, counts, st.none() | kept)),
]
scripts = st.lists(
    st.one_of([step for weight, step in WEIGHTS for _ in range(weight)]),
    min_size=60,
    max_size=150,
)


@pytest.fixture(autouse=True, scope="module")
def _small_limits() -> Iterator[None]:
    """Make what is split at thousands split at a few."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (packing, deliver, jobs):
            patch.setattr(module, "SEQS_PER_RECORD", SEQS_PER_RECORD)
        patch.setattr(deliver, "_DUE_PER_TICK", DUE_PER_TICK)
        patch.setattr(deliver, "SHARED_FROM", 1)
        patch.setattr(sessions, "AT_ONCE", 1)
        patch.setattr(route, "QUEUES_PER_ENTRY", 2)
        patch.setattr(front, "SIZE", 2)
        patch.setattr(inbox, "_FRONTS", 2)
        for fold in (route, deliver):
            patch.setattr(fold, "_STEP", 1)
        for part in (inbox, sessions, jobs):
            patch.setattr(part, "STEP", 1)
        yield


def play(script: list[tuple[Any, ...]]) -> TwoLogs:
    """Run a script and let everything settle."""
    world = TwoLogs(PARTITIONS)
    for number, (name, *arguments) in enumerate(script):
        match name, arguments:
            case "bind", [group, queue]:
                world.publish(Bind(group, queue))
            case "message", [group, fields]:
                fields = {"sender": "", **fields}
                if (wait := fields.pop("expires_in", None)) is not None:
                    fields["expires_at"] = world.clock + wait
                world.publish(Message(f"m{number}", group, **fields))
            case "ack", [queue, count, one_by_one]:
                seen = _seqs(world, queue)[:count]
                if one_by_one:
                    world.publish(Ack(queue, seqs=tuple(seen[::2])))
                else:
                    world.publish(Ack(queue, seen[-1] if seen else 0))
            case "open", [queue, session, wanted, ttl, presence]:
                world.publish(Open(queue, session, tuple(wanted), 0, ttl or None, presence))
            case "touch", [queue, session]:
                world.publish(Touch(queue, session))
            case "close", [queue, session]:
                world.publish(Close(queue, session))
            case "configure", [queue, fields]:
                world.publish(Configure(queue, **fields))
            case "lease", [queue, consumer, limit, visibility]:
                world.publish(Lease(queue, consumer or "", limit, visibility or None))
            case "nack", [queue, which, outcome, delay, consumer]:
                seen = _seqs(world, queue)
                seqs = tuple(seen[place] for place in which if place < len(seen))
                world.publish(Nack(queue, seqs, outcome, delay, consumer))
            case "purge", [queue]:
                world.publish(Purge(queue))
            case "delete", [queue]:
                world.publish(Delete(queue))
            case "pass", [milliseconds]:
                world.clock += milliseconds
            case "tick", [partition]:
                key = tick_key(partition, PARTITIONS)
                world.append("queue-events", partition, key, encode(Tick()))
            case _:
                getattr(world, name)(*arguments)
    world.settle()
    return world


def _seqs(world: TwoLogs, queue: str) -> list[int]:
    return [seq for rows in world.rows("queues") for seq, _ in views.inbox(rows, queue)]


def _told(world: TwoLogs) -> Counter[Told]:
    """Return the messages that were asked for, each once."""
    found: Counter[Told] = Counter()
    seen = set()
    for log in world.logs["group-events"]:
        for record in log:
            try:
                message = decode(record.value)
            except BadRecord:
                continue
            if not isinstance(message, Message) or message.origin is None:
                continue
            if message.origin in seen:
                continue
            seen.add(message.origin)
            headers = message.headers
            if (reason := headers.get("dead-letter-reason")) is not None:
                queue, tries = headers["dead-letter-queue"], headers["dead-letter-tries"]
                found["dead", message.group, message.id, reason, tries, queue] += 1
                continue
            body = orjson.loads(message.body)
            if message.kind == "presence":
                found["presence", message.group, body["state"], body["session"]] += 1
            else:
                found[message.kind, message.group, body["id"], body["group"], body["queue"]] += 1
    return found


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scripts, st.integers(1, 20))
def test_queues_are_what_their_log_says(script: list[tuple[Any, ...]], chunk: int) -> None:
    # Given any events, and anything that happens to the workers meanwhile
    world = play(script)
    references = []
    for log in world.logs["queue-events"]:
        reference = Reference(SEQS_PER_RECORD, DUE_PER_TICK)
        reference.follow(log)
        references.append(reference)

    for rows, reference in zip(world.rows("queues"), references, strict=True):
        due = []
        sharing: Counter[bytes] = Counter()
        for name, queue in reference.queues.items():
            # Then inboxes hold what they must, as it must be
            found = {
                seq: (m.id, d.tries, d.until, d.leased, d.consumer.decode())
                for seq, d, m in views.deliveries(rows, name)
            }
            assert found == {
                seq: (item.message.id, item.tries, item.until, item.leased, item.consumer)
                for seq, item in queue.inbox.items()
            }
            for bucket in (b"i", b"h"):
                for _, row in rows.scan(bucket + name.encode()):
                    sharing[unpack(row).shared] += 1
            held = {int.from_bytes(seq, "big") for seq, _ in rows.scan(b"h" + name.encode())}
            assert held == set(queue.held)
            assert views.session(rows, name) == queue.session

            # Options are there, and what is counted is right
            state = views.options(rows, name)
            assert (state is None) == (queue.options is None)
            if state is not None:
                assert state.options == queue.options
                assert state.length == len(queue.items)
                assert state.size == sum(len(item.raw) for item in queue.items)
                assert state.jobs == queue.jobs

            # The index is of what is to be had, and of job queues alone
            index = {int.from_bytes(k[1:], "big") for k, _ in rows.scan(AVAILABLE + name.encode())}
            assert index == {s for s, i in queue.inbox.items() if queue.jobs and not i.until}
            transient = {int.from_bytes(k, "big") for k, _ in rows.scan(b"v" + name.encode())}
            assert transient == {s for s, i in queue.inbox.items() if not i.message.persistent}
        # A message that rows share is there for as long as one of them is
        del sharing[b""]
        assert {k: int.from_bytes(v, "big") for k, v in rows.scan(b"n")} == sharing
        assert [k for k, _ in rows.scan(SHARED_MESSAGES)] == sorted(sharing)
        # Nothing waits that has no reason to
        for suffix, _ in rows.scan(TIMERS):
            timer = read_timer(suffix)
            due.append((timer.due, timer.kind.decode(), timer.queue))
        assert sorted(due) == sorted(timer[:3] for timer in reference._timers())

    # I1 and I2: what was sent, by clients and by the fold, was sent on to each receiver once
    expected = semantics.groups(world.logs["group-events"], WINDOW_MS, LOGS.queue_events)
    got: list[tuple[semantics.Place, str]] = []
    queue_logs = world.logs["queue-events"]
    arrived = semantics.queues(queue_logs, SEQS_PER_RECORD, LOGS.group_events)
    for name, sent_on in arrived.got.items():
        got += [(place, name) for _, place in sent_on]
    assert sorted(got) == sorted(
        (place, name) for place, names in expected.receivers.items() for name in names
    )

    # What was asked for was asked for, once
    told = sum((reference.told for reference in references), Counter[Told]())
    assert _told(world) == told
    for kind in told:
        event(f"told: {kind[0]} {kind[3] if kind[0] == 'dead' else ''}")

    # Tables built from the logs are the same, byte for byte
    for table in TABLES:
        for live, rebuilt in zip(world.rows(table), world.rebuilt(table, chunk), strict=True):
            assert list(live.items()) == list(rebuilt.items())
