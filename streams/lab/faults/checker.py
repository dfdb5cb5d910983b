"""The independent checker: evidence in, findings out.

It applies the small model of the semantics to the log, and never uses a fold.  Each finding
belongs to an invariant of DESIGN.md (I1 to I8), or means that a client got a wrong answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streams.events.records import Ack, Message
from streams.lab.faults.evidence import AckStep, Evidence, ReadStep, Row, Step
from streams.lab.workload.model import Model, QueuedMessage

EXAMPLES = 20
STALL_SECONDS = 20.0
"""A partition that a fault does not affect may stall for a rebalance, but not longer."""


@dataclass(slots=True)
class Findings:
    """Violations by invariant; empty if there are none."""

    expected: int = 0
    """Number of expected deliveries."""
    found: int = 0
    """Number of actual deliveries: read by a consumer, or in an inbox."""
    counts: Counter[str] = field(default_factory=Counter)
    """Number of findings of each kind."""
    examples: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.counts

    def note(self, kind: str, text: str, count: int = 1) -> None:
        """Add a finding."""
        self.counts[kind] += count
        if self.counts[kind] <= EXAMPLES // 4 + count and len(self.examples) < EXAMPLES:
            self.examples.append(f"{kind}: {text}")


LOST = "I1 lost"
DUPLICATED = "I1 duplicated"
EXTRA = "I2 extra"
DISORDERED = "I3 out of order"
NOT_INVERSE = "I4 not inverse"
OVER = "session over, binding not"
NOT_REBUILT = "I5 rebuilt differs"
RETURNED = "I6 acked came back"
VANISHED = "I6 unacked is gone"
POISONED = "I7 dead letters"
STALLED = "I8 stalled"
DISHONEST = "dishonest answer"
UNFINISHED = "did not come to rest"


def check(evidence: Evidence, stall_seconds: float = STALL_SECONDS) -> Findings:
    """Check the evidence against the model and the invariants."""
    findings = Findings()
    model = Model()
    for logged in evidence.log:
        model.apply(logged.partition, logged.offset, logged.timestamp, logged.event)
    _check_answers(evidence, findings)
    seen: dict[str, dict[int, tuple[str, str]]] = {}
    for queue, steps in evidence.answers.consumers.items():
        seen[queue] = _check_consumer(queue, steps, findings)
    _check_deliveries(evidence, model, seen, findings)
    _check_bindings(evidence, model, findings)
    _check_rebuilt(evidence, findings)
    if len(evidence.dead_letters) != evidence.poison:
        findings.note(
            POISONED,
            f"{evidence.poison} broken records, {len(evidence.dead_letters)} dead letters;"
            f" the last: {evidence.dead_letters[-3:]}",
        )
    for (table, number), seconds in sorted(evidence.stalls.items()):
        if (table, number) in evidence.untouched and seconds > stall_seconds:
            findings.note(STALLED, f"{table}/{number} made no progress for {seconds:.1f} s")
    for text in evidence.unfinished:
        findings.note(UNFINISHED, text)
    return findings


def _check_answers(evidence: Evidence, findings: Findings) -> None:
    """Check that everything confirmed to clients is in the log."""
    answers = evidence.answers
    there = {(logged.partition, logged.offset): logged.event for logged in evidence.log}
    for place, (group, ident) in answers.messages.items():
        event = there.get(place)
        if not (isinstance(event, Message) and (event.group, event.id) == (group, ident)):
            findings.note(LOST, f"message {ident} of {group} was confirmed at {place}: {event}")
    in_log = Counter(
        (type(logged.event).__name__, logged.event.group, logged.event.queue)
        for logged in evidence.log
        if not isinstance(logged.event, Message) and logged.event.origin is None
    )
    for change, count in (answers.changes - in_log).items():
        findings.note(LOST, f"{' '.join(change)} was confirmed and is not in the log", count)
    for place, change in answers.placed.items():
        event = there.get(place)
        found = (
            None
            if event is None or isinstance(event, Message)
            else (type(event).__name__, event.group, event.queue)
        )
        if found != change:
            findings.note(LOST, f"{' '.join(change)} was confirmed at {place}: {event}")
    for text in answers.dishonest:
        findings.note(DISHONEST, text)


def _check_consumer(
    queue: str, steps: list[Step], findings: Findings
) -> dict[int, tuple[str, str]]:
    """Check the reads of one consumer; return all its deliveries by seq.

    Answers may come from different workers, but must agree: seqs only grow, deliveries stay
    until they are acked, and acked deliveries that are gone do not return.
    """
    seen: dict[int, tuple[str, str]] = {}
    gone: set[int] = set()
    acking: list[AckStep] = []
    for step in steps:
        if isinstance(step, AckStep):
            acking.append(step)
            continue
        _check_read(queue, step, seen, gone, findings)
        if step.complete:
            shown = {delivery.seq for delivery in step.deliveries}
            for seq in seen:
                if seq > step.after and seq not in shown and seq not in gone:
                    if any(_covers(ack, seq) for ack in acking):
                        gone.add(seq)
                    else:
                        group, ident = seen[seq]
                        where = f"{ident} of {group}, seq {seq} in queue {queue}"
                        findings.note(VANISHED, f"{where}: {_described(step)}")
    return seen


def _described(read: ReadStep) -> str:
    seqs = [delivery.seq for delivery in read.deliveries]
    shown = f"{len(seqs)} deliveries, seq {seqs[0]} to {seqs[-1]}" if seqs else "nothing"
    return f"a read after seq {read.after} shows {shown}"


def _check_read(
    queue: str,
    read: ReadStep,
    seen: dict[int, tuple[str, str]],
    gone: set[int],
    findings: Findings,
) -> None:
    highest = max(seen, default=0)
    last = read.after
    for seq, group, ident in read.deliveries:
        where = f"{ident} of {group}, seq {seq} in queue {queue}"
        if seq <= last:
            findings.note(DISORDERED, f"{where} came after seq {last}")
        last = max(last, seq)
        known = seen.get(seq)
        if known is None:
            seen[seq] = (group, ident)
            if seq < highest:
                findings.note(DISORDERED, f"{where} appeared below seq {highest}")
        elif known != (group, ident):
            findings.note(DISORDERED, f"{where} was {known[1]} of {known[0]} before")
        elif seq in gone:
            findings.note(RETURNED, f"{where} was acked, not there any more, and came back")


def _covers(ack: AckStep | Ack, seq: int) -> bool:
    return seq in ack.seqs or (ack.upto is not None and seq <= ack.upto)


def _check_deliveries(
    evidence: Evidence,
    model: Model,
    seen: dict[str, dict[int, tuple[str, str]]],
    findings: Findings,
) -> None:
    """Compare inboxes and consumers' deliveries with the model."""
    acked: dict[str, list[Ack]] = {}
    for ack in evidence.acks:
        acked.setdefault(ack.queue, []).append(ack)
    inboxes = evidence.tables.inboxes
    for queue in model.received.keys() | inboxes.keys() | seen.keys():
        expected = model.received.get(queue, [])
        acks = acked.get(queue, [])
        inbox = inboxes.get(queue, [])
        got = set(inbox)
        for seq, (group, ident) in seen.get(queue, {}).items():
            delivery = QueuedMessage(seq, group, ident)
            is_acked = any(_covers(ack, seq) for ack in acks)
            if is_acked or delivery in got:
                got.add(delivery)
            else:
                findings.note(VANISHED, f"{ident} of {group}, seq {seq}, is not in inbox {queue}")
                got.add(delivery)
        for delivery in inbox:
            if any(_covers(ack, delivery.seq) for ack in acks):
                findings.note(RETURNED, f"{delivery} is acked, and in the inbox {queue}")
        findings.expected += len(expected)
        findings.found += len(got)
        _compare(queue, expected, sorted(got), findings)


def _compare(
    queue: str, expected: list[tuple[str, str]], got: list[QueuedMessage], findings: Findings
) -> None:
    wanted = Counter(expected)
    found = Counter((delivery.group, delivery.message) for delivery in got)
    for (group, ident), count in (wanted - found).items():
        findings.note(LOST, f"{ident} of {group} in queue {queue}", count)
    for (group, ident), count in (found - wanted).items():
        kind = DUPLICATED if (group, ident) in wanted else EXTRA
        findings.note(kind, f"{ident} of {group} in queue {queue}", count)
    place = {message: number for number, message in enumerate(expected)}
    latest: dict[str, int] = {}
    for delivery in got:
        number = place.pop((delivery.group, delivery.message), None)
        if number is None:
            continue  # no such message, or a duplicate of it
        if number < latest.get(delivery.group, -1):
            findings.note(DISORDERED, f"{delivery} in queue {queue}: a later one has a lower seq")
        latest[delivery.group] = max(number, latest.get(delivery.group, -1))


def _check_bindings(evidence: Evidence, model: Model, findings: Findings) -> None:
    """Compare both tables with each other, and `members` with the model."""
    members, bindings = evidence.tables.members, evidence.tables.bindings
    for group, queue in sorted(members.keys() | bindings.keys()):
        one, other = _session(members, group, queue), _session(bindings, group, queue)
        if one != other:
            findings.note(NOT_INVERSE, f"{group} and {queue}: {one} in members, {other} in queues")
    for (group, queue), session in sorted(members.items()):
        opened = evidence.tables.sessions.get(queue)
        if session is not None and session != opened:
            findings.note(OVER, f"{group} and {queue}: bound in {session}, but {opened} is open")
    expected = {
        (group, queue): session
        for group in model.touched()
        for queue, session in model.bindings(group).items()
    }
    for group, queue in sorted(members.keys() | expected.keys()):
        one, other = _session(members, group, queue), _session(expected, group, queue)
        if one != other:
            findings.note(NOT_INVERSE, f"{group} and {queue}: {one} in members, {other} by the log")


def _session(bound: dict[tuple[str, str], str | None], group: str, queue: str) -> str:
    if (group, queue) not in bound:
        return "not bound"
    session = bound[group, queue]
    return "bound" if session is None else f"bound in session {session}"


def _check_rebuilt(evidence: Evidence, findings: Findings) -> None:
    tables = evidence.tables
    for origin, rebuilt in (("log", tables.refolded), ("changelog", tables.restored)):
        for key, rows in rebuilt.items():
            differing = list(_differing(tables.live.get(key, []), rows))
            if differing:
                where = f"{key[0]}/{key[1]} from the {origin}"
                text = f"{where}: {len(differing)} rows, as {differing[0]!r}"
                findings.note(NOT_REBUILT, text, len(differing))


def _differing(live: list[Row], rebuilt: list[Row]) -> Iterator[bytes]:
    ours, theirs = dict(live), dict(rebuilt)
    get: Callable[[bytes], bytes | None] = theirs.get
    yield from (key for key, value in ours.items() if get(key) != value)
    yield from (key for key in theirs if key not in ours)
