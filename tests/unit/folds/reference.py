"""What queues must be like after their log, by the plainest means: lists, and no rows.

Independent of the folds: everything that is due is looked for in everything there is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from streams.events.codec import decode
from streams.events.records import (
    Ack,
    Close,
    Configure,
    Delete,
    Lease,
    Message,
    Nack,
    Open,
    Purge,
    Routed,
    Tick,
    Touch,
)
from streams.fold import BadRecord, Record

Told = tuple[str, ...]
"""Kind, group and what is in a message that was asked for."""


@dataclass
class Item:
    """One delivery."""

    message: Message
    raw: bytes
    tries: int = 0
    until: int = 0
    leased: bool = False
    consumer: str = ""
    ends: int = 0
    """When it expires, 0 for never: by its own time or by that of the queue."""

    def __post_init__(self) -> None:
        self.ends = self.message.expires_at or 0

    def expired(self, now: int) -> bool:
        return 0 < self.ends <= now


@dataclass
class Queue:
    """One queue."""

    inbox: dict[int, Item] = field(default_factory=dict)
    held: dict[int, Item] = field(default_factory=dict)
    session: str | None = None
    presence: bool = True
    ttl: int = 0
    heard: int = 0
    session_due: int = 0
    options: Configure | None = None
    jobs: bool = False
    used: int = 0
    unused_due: int = 0

    @property
    def items(self) -> list[Item]:
        return [*self.inbox.values(), *self.held.values()]


class Reference:
    """All queues of one partition."""

    def __init__(self, seqs_per_record: int, due_per_tick: int) -> None:
        self.queues: dict[str, Queue] = {}
        self.told: Counter[Told] = Counter()
        self._seqs = seqs_per_record
        self._due = due_per_tick
        self._seen: set[tuple[int, int, str]] = set()
        self._now = 0
        self._offset = 0

    def follow(self, log: list[Record]) -> None:
        for record in log:
            try:
                event = decode(record.value)
            except BadRecord:
                continue
            self._now, self._offset = record.timestamp, record.offset
            if isinstance(event, Routed):
                self._routed(event)
            elif isinstance(event, Tick):
                self._tick()
            else:
                self._event(event)

    def _of(self, name: str) -> Queue:
        return self.queues.setdefault(name, Queue())

    def _routed(self, event: Routed) -> None:
        seq = self._offset * self._seqs
        for offset, raw, receivers in zip(
            event.delivery_offsets, event.delivery_messages, event.delivery_queues, strict=True
        ):
            for name in receivers:
                seq += 1
                if (event.source, offset, name) not in self._seen:
                    self._seen.add((event.source, offset, name))
                    message = decode(raw)
                    assert isinstance(message, Message)
                    self._arrive(name, seq, Item(message, raw))

    def _arrive(self, name: str, seq: int, item: Item) -> None:
        queue = self._of(name)
        if item.expired(self._now) or (not item.message.persistent and queue.session is None):
            return
        options = queue.options
        if options is not None and options.message_ttl_ms is not None:
            queue_ends = self._now + options.message_ttl_ms
            item.ends = min(item.ends or queue_ends, queue_ends)
        if options is not None and not self._fits(queue, item):
            if options.overflow == "drop_oldest" and not (
                options.max_bytes is not None and len(item.raw) > options.max_bytes
            ):
                while not self._fits(queue, item) and queue.inbox:
                    oldest = queue.inbox.pop(min(queue.inbox))
                    self._dead(name, queue, oldest, "overflow")
            if not self._fits(queue, item):
                if options.overflow == "reject":
                    self._reply("rejected", name, item)
                self._dead(name, queue, item, "overflow")
                return
        queue.inbox[seq] = item

    def _fits(self, queue: Queue, item: Item) -> bool:
        options = queue.options
        assert options is not None
        size = sum(len(other.raw) for other in queue.items) + len(item.raw)
        return (options.max_length is None or len(queue.items) < options.max_length) and (
            options.max_bytes is None or size <= options.max_bytes
        )

    def _reply(self, kind: str, name: str, item: Item) -> None:
        message = item.message
        if message.sender and message.sender != name:
            self.told[kind, "@" + message.sender, message.id, message.group, name] += 1

    def _dead(self, name: str, queue: Queue, item: Item, reason: str) -> None:
        if queue.options is None or queue.options.dead_letter is None:
            return
        been = "dead-letter-reason" in item.message.headers
        if been and reason in ("overflow", "expired"):
            return
        target = "@" + queue.options.dead_letter
        self.told["dead", target, item.message.id, reason, str(item.tries), name] += 1

    def _present(self, name: str, state: str, session: str) -> None:
        self.told["presence", f"presence:{name}", state, session] += 1

    def _event(self, event: Any) -> None:
        name = event.queue
        queue = self._of(name)
        match event:
            case Ack():
                for seq in list(queue.inbox):
                    if seq in event.seqs or (event.upto is not None and seq <= event.upto):
                        item = queue.inbox.pop(seq)
                        if item.message.receipt:
                            self._reply("receipt", name, item)
            case Open():
                self._open(name, queue, event)
            case Touch():
                if queue.session == event.session and queue.ttl:
                    queue.heard = self._now
            case Close():
                if queue.session == event.session:
                    self._close(name, queue)
            case Configure(only_new=True) if queue.options is not None and (
                replace(queue.options, at=0) != Configure(name)
            ):
                pass
            case Configure():
                queue.options = replace(event, only_new=False)
                if event.overflow == "drop_oldest":
                    while self._overfull(queue) and queue.inbox:
                        oldest = queue.inbox.pop(min(queue.inbox))
                        self._dead(name, queue, oldest, "overflow")
                queue.used = self._now
                queue.unused_due = self._now + event.ttl_ms if event.ttl_ms else 0
            case Lease():
                self._lease(name, queue, event)
            case Nack():
                self._nack(name, queue, event)
            case Purge():
                queue.inbox.clear()
                queue.held.clear()
            case Delete():
                self._delete(name, queue)
        queue.used = self._now

    def _overfull(self, queue: Queue) -> bool:
        options = queue.options
        assert options is not None
        size = sum(len(item.raw) for item in queue.items)
        return (options.max_length is not None and len(queue.items) > options.max_length) or (
            options.max_bytes is not None and size > options.max_bytes
        )

    def _open(self, name: str, queue: Queue, event: Open) -> None:
        before, seen = queue.session, queue.session is not None and queue.presence
        if before is not None and before != event.session:
            self._end_transient(queue)
        queue.session, queue.presence = event.session, event.presence
        queue.ttl, queue.heard = event.ttl_ms or 0, self._now
        queue.session_due = self._now + queue.ttl if queue.ttl else 0
        if event.presence and not (seen and before == event.session):
            self._present(name, "online", event.session)
        elif seen and not event.presence:
            self._present(name, "offline", str(before))

    def _close(self, name: str, queue: Queue) -> None:
        self._end_transient(queue)
        if queue.presence:
            self._present(name, "offline", str(queue.session))
        queue.session, queue.ttl, queue.session_due = None, 0, 0

    def _end_transient(self, queue: Queue) -> None:
        for seq in list(queue.inbox):
            if not queue.inbox[seq].message.persistent:
                del queue.inbox[seq]

    def _delete(self, name: str, queue: Queue) -> None:
        if queue.session is not None:
            self._close(name, queue)
        self.queues[name] = Queue()

    def _lease(self, name: str, queue: Queue, event: Lease) -> None:
        if queue.options is None:
            queue.options = Configure(name, at=self._now)
        queue.jobs = True
        free = [(-i.message.priority, seq) for seq, i in queue.inbox.items() if not i.until]
        taken = 0
        for _, seq in sorted(free):
            if taken == event.limit:
                break
            item = queue.inbox[seq]
            if item.expired(self._now):
                self._dead(name, queue, queue.inbox.pop(seq), "expired")
                continue
            taken += 1
            item.tries += 1
            visibility = event.visibility_ms or queue.options.visibility_ms or 30_000
            item.until, item.leased, item.consumer = self._now + visibility, True, event.consumer

    def _nack(self, name: str, queue: Queue, event: Nack) -> None:
        for number, seq in enumerate(event.seqs, 1):
            item = queue.inbox.get(seq)
            if item is None or event.consumer not in (None, item.consumer):
                continue
            if event.outcome == "extend":
                if item.leased:
                    item.until = self._now + event.delay_ms
                continue
            if not item.leased:
                item.tries += 1
            if event.outcome == "reject":
                self._dead(name, queue, queue.inbox.pop(seq), "rejected")
            elif (
                queue.options
                and queue.options.max_tries
                and (item.tries >= queue.options.max_tries)
            ):
                self._dead(name, queue, queue.inbox.pop(seq), "tries")
            else:
                item.leased, item.consumer = False, ""
                item.until = self._now + event.delay_ms if event.delay_ms else 0
                if not queue.jobs:
                    del queue.inbox[seq]
                    if item.until:
                        queue.held[seq] = item
                    else:
                        self._again(name, queue, self._offset * self._seqs + number, item)

    def _again(self, name: str, queue: Queue, seq: int, item: Item) -> None:
        item.until = 0
        if item.expired(self._now):
            self._dead(name, queue, item, "expired")
        elif item.message.persistent or queue.session is not None:
            queue.inbox[seq] = item

    def _tick(self) -> None:
        for number in range(1, self._due + 1):
            due = min(self._timers(), default=None)
            if due is None or due[0] > self._now:
                return
            _, kind, where, seq = due
            name = where.decode()
            queue = self._of(name)
            match kind:
                case "e":
                    self._dead(name, queue, queue.inbox.pop(seq), "expired")
                case "l":
                    item = queue.inbox[seq]
                    most = queue.options.max_tries if queue.options else None
                    if item.leased and most and item.tries >= most:
                        self._dead(name, queue, queue.inbox.pop(seq), "tries")
                    else:
                        item.until, item.leased, item.consumer = 0, False, ""
                case "h":
                    item = queue.held.pop(seq)
                    self._again(name, queue, self._offset * self._seqs + number, item)
                case "s":
                    queue.session_due = queue.heard + queue.ttl
                    if queue.session_due <= self._now:
                        self._close(name, queue)
                case _:
                    assert queue.options is not None
                    ttl = queue.options.ttl_ms or 0
                    if queue.session is not None:
                        queue.used = self._now
                    queue.unused_due = queue.used + ttl
                    if queue.unused_due <= self._now:
                        self._delete(name, queue)

    def _timers(self) -> list[tuple[int, str, bytes, int]]:
        found = []
        for name, queue in self.queues.items():
            key = name.encode()
            for seq, item in queue.inbox.items():
                if item.ends:
                    found.append((item.ends, "e", key, seq))
                if item.until:
                    found.append((item.until, "l", key, seq))
            found += [(item.until, "h", key, seq) for seq, item in queue.held.items()]
            if queue.session_due:
                found.append((queue.session_due, "s", key, 0))
            if queue.unused_due:
                found.append((queue.unused_due, "q", key, 0))
        return found
