"""Sessions of queues: which one is open, what ends with it, and how long it may be silent.

Rows of the bucket ``s`` queue: the empty suffix holds the open session.  The suffix ``t``
holds its terms, if it has any: a byte (1: its presence is not announced) and 8 bytes each for
its time to live, its last heartbeat, and when its timer is due (milliseconds; 0: never).  The
suffix ``c`` holds 8 bytes of time and a session that was closed then and is not cleared up
yet.  Row ``z`` holds 8 bytes of time and how many sessions were closed at that time.

A closed session leaves bindings, which route is asked to drop, and transient deliveries.  When
many sessions are closed at once, the next Ticks clear up after them, some in each, so that
ten thousand of them do not delay the next message.  A session is always cleared up before
anything else happens to the session of its queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from streams.fold import Rows
from streams.folds.emitter import Emitter
from streams.folds.inbox import STEP, Inboxes
from streams.folds.row_keys import BINDINGS, CLOSED, CLOSED_LATELY, SESSION, TERMS
from streams.folds.timers import CLOSING, HEARTBEAT, Timer, Timers

AT_ONCE: Final = 4
"""Sessions closed in the same millisecond of log time that are cleared up at once."""

_terms = Struct(">BQQQ")
_closed_lately = Struct(">QH")


@dataclass(slots=True)
class SessionTerms:
    """The terms of an open session."""

    hidden: bool = False
    """Whether its presence is not announced."""
    ttl: int = 0
    """Milliseconds without a heartbeat after which it is closed; 0 for never."""
    heard: int = 0
    """Time of its last heartbeat."""
    due: int = 0
    """When its timer is due; 0 without one."""

    def pack(self) -> bytes:
        """Return the row."""
        return _terms.pack(self.hidden, self.ttl, self.heard, self.due)


def unpack_terms(row: bytes | None) -> SessionTerms:
    """Return the terms that a row holds; without one, those of a session without a time to live."""
    if row is None:
        return SessionTerms()
    hidden, ttl, heard, due = _terms.unpack(row)
    return SessionTerms(bool(hidden), ttl, heard, due)


class Sessions:
    """The sessions of one partition."""

    def __init__(self, rows: Rows, timers: Timers, inboxes: Inboxes, emitter: Emitter) -> None:
        self._rows = rows
        self._timers = timers
        self._inboxes = inboxes
        self._emitter = emitter

    def open(
        self, queue: bytes, session: str, groups: list[str], ttl: int, hidden: bool
    ) -> Iterator[None]:
        """Open a session in place of any other; a group that both bind is never left.

        An Unbind between the old binding and the new would lose messages sent in between.  So
        the Unbind follows the Bind with the new session, which covers the old binding.
        """
        emitter = self._emitter
        bucket = SESSION + queue
        name = queue.decode()
        yield from self.clear(queue)
        held = self._rows.get(bucket, b"")
        seen = False
        both: list[str] = []
        if held is not None:
            seen = not self._end_terms(queue).hidden
        if held != session.encode():
            self._rows.put(bucket, b"", session.encode())
            if held is not None:
                yield from self._inboxes.end_transient(queue)
                yield from self._unbind_all(queue, held, frozenset(groups))
                bound = BINDINGS + queue
                for number, group in enumerate(groups, 1):
                    if self._rows.get(bound, group.encode()) == held:
                        both.append(group)
                    if not number % STEP:
                        yield
        if ttl or hidden:
            self._begin_terms(queue, SessionTerms(hidden, ttl, emitter.now))
        for number, group in enumerate(groups, 1):
            emitter.change("Bind", group, name, session)
            if not number % STEP:
                yield
        for number, group in enumerate(both, 1):
            assert held is not None
            emitter.change("Unbind", group, name, held.decode())
            if not number % STEP:
                yield
        if hidden and seen:
            assert held is not None
            emitter.presence(name, "offline", held.decode())
        elif not hidden and not (seen and held == session.encode()):
            emitter.presence(name, "online", session)

    def close(self, queue: bytes, session: bytes) -> Iterator[None]:
        """Close the session if it is the open one, and drop its bindings in any case."""
        yield from self.clear(queue)
        if self._rows.get(SESSION + queue, b"") != session:
            yield from self._unbind_all(queue, session, frozenset())
            return
        seen = not self._end_terms(queue).hidden
        self._rows.delete(SESSION + queue, b"")
        if self._many():
            now = self._emitter.now
            self._rows.put(SESSION + queue, CLOSED, now.to_bytes(8, "big") + session)
            self._timers.set(Timer(now, CLOSING, queue))
        else:
            yield from self._clear(queue, session)
        if seen:
            self._emitter.presence(queue.decode(), "offline", session.decode())

    def clear(self, queue: bytes) -> Iterator[None]:
        """Clear up after a closed session, if that was postponed."""
        row = self._rows.get(SESSION + queue, CLOSED)
        if row is not None:
            self._rows.delete(SESSION + queue, CLOSED)
            self._timers.cancel(Timer(int.from_bytes(row[:8], "big"), CLOSING, queue))
            yield from self._clear(queue, row[8:])

    def _clear(self, queue: bytes, session: bytes) -> Iterator[None]:
        yield from self._inboxes.end_transient(queue)
        yield from self._unbind_all(queue, session, frozenset())

    def _many(self) -> bool:
        """Count a session that is closed now; return True when many are closed at this time."""
        row = self._rows.get(CLOSED_LATELY, b"")
        time, number = (0, 0) if row is None else _closed_lately.unpack(row)
        now = self._emitter.now
        number = number + 1 if time == now else 1
        if number <= AT_ONCE + 1:
            self._rows.put(CLOSED_LATELY, b"", _closed_lately.pack(now, number))
        return number > AT_ONCE

    def touch(self, queue: bytes, session: str) -> Iterator[None]:
        """Note a heartbeat of the session, if it is the open one."""
        if self._rows.get(SESSION + queue, b"") == session.encode():
            row = self._rows.get(SESSION + queue, TERMS)
            if row is not None:
                terms = unpack_terms(row)
                terms.heard = self._emitter.now
                self._rows.put(SESSION + queue, TERMS, terms.pack())
        yield from ()

    def look(self, queue: bytes) -> Iterator[None]:
        """Close the session if its time to live is over; its timer has fired."""
        held = self._rows.get(SESSION + queue, b"")
        terms = unpack_terms(self._rows.get(SESSION + queue, TERMS))
        if held is None or not terms.ttl:
            return
        terms.due = 0
        if terms.heard + terms.ttl > self._emitter.now:
            self._begin_terms(queue, terms)
        else:
            yield from self.close(queue, held)

    def is_open(self, queue: bytes) -> bool:
        """Tell whether a queue has an open session."""
        return self._rows.get(SESSION + queue, b"") is not None

    def end_all(self, queue: bytes) -> Iterator[None]:
        """Close the open session, and ask route to drop all bindings of the queue."""
        held = self._rows.get(SESSION + queue, b"")
        if held is not None:
            yield from self.close(queue, held)
        yield from self.clear(queue)
        name = queue.decode()
        for number, (group, session) in enumerate(self._rows.scan(BINDINGS + queue), 1):
            if held is None or session != held:
                self._emitter.change("Unbind", group.decode(), name, session.decode() or None)
            if not number % STEP:
                yield

    def _begin_terms(self, queue: bytes, terms: SessionTerms) -> None:
        if terms.ttl:
            terms.due = terms.heard + terms.ttl
            self._timers.set(Timer(terms.due, HEARTBEAT, queue))
        self._rows.put(SESSION + queue, TERMS, terms.pack())

    def _end_terms(self, queue: bytes) -> SessionTerms:
        row = self._rows.get(SESSION + queue, TERMS)
        terms = unpack_terms(row)
        if row is not None:
            self._rows.delete(SESSION + queue, TERMS)
            if terms.due:
                self._timers.cancel(Timer(terms.due, HEARTBEAT, queue))
        return terms

    def _unbind_all(self, queue: bytes, session: bytes, but: frozenset[str]) -> Iterator[None]:
        """Ask route to drop all bindings of a session, but for those to some groups."""
        name, ending = queue.decode(), session.decode()
        for number, (group, held) in enumerate(self._rows.scan(BINDINGS + queue), 1):
            if held == session and (group_id := group.decode()) not in but:
                self._emitter.change("Unbind", group_id, name, ending)
            if not number % STEP:
                yield
