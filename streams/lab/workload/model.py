"""An independent model of who must have received which message.

It follows DESIGN.md, not the code of the folds: a dictionary per group, and events in the order
of the log.  Where system and model disagree, one of them is wrong.  It knows records, but
neither Avro nor Kafka.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.events.records import Bind, Message, Unbind

WINDOW_MS = 600_000
"""A message whose sender has used its id in the group within this time is a duplicate."""

GroupEvent = Bind | Unbind | Message


class QueuedMessage(NamedTuple):
    """One message in one queue, or as its reader received it."""

    seq: int
    group: str
    message: str


class Model:
    """The bindings of all groups, and what each queue must have received.

    `apply` takes the events of `group-events` in the order of each partition's log.  The order
    between partitions does not matter, since all events of a group are in one.
    """

    def __init__(self, members_at_start: Callable[[str], Iterable[str]] = lambda group: ()) -> None:
        """Start with the given members of each group, all bound without a session."""
        self.received: dict[str, list[tuple[str, str]]] = defaultdict(list)
        """Per queue: (group, message id) of each message; messages of a group are in log order."""
        self.published = 0
        """Number of messages; a duplicate does not count."""
        self.deliveries = 0
        self._members_at_start = members_at_start
        self._bindings: dict[str, dict[str, str | None]] = {}
        self._covered: dict[tuple[str, str], list[str]] = {}
        self._seen: dict[tuple[str, str, str], int] = {}
        self._now: dict[int, int] = defaultdict(int)
        self._asked: dict[tuple[int, int], tuple[int, int]] = {}
        self._offsets: dict[int, int] = {}

    def apply(self, partition: int, offset: int, timestamp: int, event: GroupEvent) -> None:
        """Apply the next event of a partition; `timestamp` is the broker's, in milliseconds.

        Raises:
            ValueError: an offset is repeated or out of order.
        """
        if offset <= self._offsets.get(partition, -1):
            raise ValueError(f"offset {offset} of partition {partition} comes after a later one")
        self._offsets[partition] = offset
        if isinstance(event, Message):
            self._publish(partition, timestamp, event)
        elif not self._came_before(partition, event):
            if isinstance(event, Bind):
                self._bind(event)
            else:
                self._unbind(event)

    def bindings(self, group: str) -> Mapping[str, str | None]:
        """Return the group's queues, each with the session of its binding or None."""
        return self._members(group)

    def touched(self) -> Set[str]:
        """Return the groups that occurred in an event."""
        return self._bindings.keys()

    def _members(self, group: str) -> dict[str, str | None]:
        members = self._bindings.get(group)
        if members is None:
            members = dict.fromkeys(self._members_at_start(group))
            self._bindings[group] = members
        return members

    def _came_before(self, partition: int, event: Bind | Unbind) -> bool:
        """Return whether an event that the system itself requested is a repetition."""
        origin = event.origin
        if origin is None:
            return False
        asked_by = (partition, origin.partition)
        this = (origin.offset, origin.part)
        if this <= self._asked.get(asked_by, (-1, -1)):
            return True
        self._asked[asked_by] = this
        return False

    def _bind(self, event: Bind) -> None:
        """Bind: the latest event wins, but a permanent binding stays permanent.

        A Bind may belong to a session that has ended.  Until it is undone, it covers the session
        that was bound before.
        """
        members, binding = self._members(event.group), (event.group, event.queue)
        present, held = event.queue in members, members.get(event.queue)
        if event.replaces is not None and (not present or held != event.replaces):
            self._uncover(binding, event.replaces)
        elif not present:
            members[event.queue] = event.session
        elif held is not None:
            members[event.queue] = event.session
            self._uncover(binding, event.session)
            if event.session not in (None, held) and event.replaces is None:
                self._covered.setdefault(binding, []).append(held)

    def _unbind(self, event: Unbind) -> None:
        members, binding = self._members(event.group), (event.group, event.queue)
        if event.session is not None and members.get(event.queue) != event.session:
            self._uncover(binding, event.session)
        elif event.session is not None and self._covered.get(binding):
            members[event.queue] = self._covered[binding].pop()
        else:
            members.pop(event.queue, None)
            self._uncover(binding, None)

    def _uncover(self, binding: tuple[str, str], session: str | None) -> None:
        """Remove a covered session of a binding; None: remove all of them."""
        if session is None:
            self._covered.pop(binding, None)
        elif session in self._covered.get(binding, ()):
            self._covered[binding].remove(session)

    def _publish(self, partition: int, timestamp: int, message: Message) -> None:
        now = self._now[partition] = max(self._now[partition], timestamp)
        name = (message.group, message.sender, message.id)
        first = self._seen.get(name)
        if first is not None and now - first <= WINDOW_MS:
            return
        self._seen[name] = now
        self.published += 1
        direct = message.group.startswith("@")
        queues = [message.group[1:]] if direct else list(self._members(message.group))
        for queue in queues:
            self.received[queue].append((message.group, message.id))
        self.deliveries += len(queues)


EXAMPLES = 20
"""How many findings a verdict describes."""


@dataclass(slots=True)
class Verdict:
    """Counts of wrong deliveries; all zero if there are none."""

    expected: int = 0
    received: int = 0
    missing: int = 0
    duplicated: int = 0
    unexpected: int = 0
    out_of_order: int = 0
    examples: list[str] = field(default_factory=list)
    """Descriptions of the first findings."""

    @property
    def ok(self) -> bool:
        """Whether everything arrived exactly once and in order, and nothing else did."""
        return not (self.missing or self.duplicated or self.unexpected or self.out_of_order)

    def note(self, text: str) -> None:
        """Keep a finding as an example, if there is room."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


def compare(
    expected: Mapping[str, Sequence[tuple[str, str]]],
    received: Mapping[str, Iterable[QueuedMessage]],
) -> Verdict:
    """Compare what queues received with `Model.received`.

    A repeated seq is one delivery, since a reader may get unacked messages again; the same
    message under two seqs is a duplicate.
    """
    verdict = Verdict()
    for queue in expected.keys() | received.keys():
        _compare_queue(verdict, queue, expected.get(queue, ()), received.get(queue, ()))
    return verdict


def _compare_queue(
    verdict: Verdict,
    queue: str,
    expected: Sequence[tuple[str, str]],
    received: Iterable[QueuedMessage],
) -> None:
    got = sorted(set(received))
    wanted = Counter(expected)
    found = Counter((delivery.group, delivery.message) for delivery in got)
    verdict.expected += len(expected)
    verdict.received += len(got)
    for (group, message), count in (wanted - found).items():
        verdict.missing += count
        verdict.note(f"missing: message {message} of group {group} in queue {queue}")
    for (group, message), count in (found - wanted).items():
        where = f"message {message} of group {group} in queue {queue}"
        if (group, message) in wanted:
            verdict.duplicated += count
            verdict.note(f"duplicated: {where}")
        else:
            verdict.unexpected += count
            verdict.note(f"unexpected: {where}")
    _compare_order(verdict, queue, expected, got)


def _compare_order(
    verdict: Verdict,
    queue: str,
    expected: Sequence[tuple[str, str]],
    got: Sequence[QueuedMessage],
) -> None:
    """Check that the seqs of each group's messages follow the order of the log."""
    place = {message: number for number, message in enumerate(expected)}
    latest: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    for delivery in got:
        message = (delivery.group, delivery.message)
        if message not in place or message in seen:
            continue
        seen.add(message)
        if place[message] < latest.get(delivery.group, -1):
            verdict.out_of_order += 1
            verdict.note(
                f"out of order: message {delivery.message} of group {delivery.group}"
                f" in queue {queue} at seq {delivery.seq}"
            )
        latest[delivery.group] = max(place[message], latest.get(delivery.group, -1))
