"""Sessions of queues: which is open, what ends with it, who is told, how long it may be silent.

Rows: ``s`` queue with an empty suffix holds the open session; with the suffix ``t``, where
there is more to know of it, a byte (1: nobody is told) and 8 bytes each for how long it may
be silent, when it was last heard of, and when that is looked at (milliseconds; 0: never).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from streams.fold import Rows
from streams.folds.asking import Asking
from streams.folds.inbox import SESSION, STEP, Inboxes
from streams.folds.timers import HEARTBEAT, Timer, Timers

BINDINGS: Final = b"b"
TERMS: Final = b"t"

_terms = Struct(">BQQQ")


@dataclass(slots=True)
class Terms:
    """On what terms a session is open."""

    hidden: bool = False
    ttl: int = 0
    heard: int = 0
    due: int = 0

    def pack(self) -> bytes:
        """Return the row."""
        return _terms.pack(self.hidden, self.ttl, self.heard, self.due)


def unpack_terms(row: bytes | None) -> Terms:
    """Return what a row holds; without one, a session that stays until it is closed."""
    if row is None:
        return Terms()
    hidden, ttl, heard, due = _terms.unpack(row)
    return Terms(bool(hidden), ttl, heard, due)


class Sessions:
    """The sessions of one partition."""

    def __init__(self, rows: Rows, timers: Timers, inboxes: Inboxes, asking: Asking) -> None:
        self._rows = rows
        self._timers = timers
        self._inboxes = inboxes
        self._asking = asking

    def open(
        self, queue: bytes, session: str, groups: list[str], ttl: int, hidden: bool
    ) -> Iterator[None]:
        """Let the session take over; a group that both sessions bind is never left.

        An Unbind between the old binding and the new would lose what is sent meanwhile, and
        is not needed: a Bind with the new session takes over the binding of the old.
        """
        asking = self._asking
        bucket = SESSION + queue
        name = queue.decode()
        held = self._rows.get(bucket, b"")
        seen = False
        if held is not None:
            seen = not self._end_terms(queue).hidden
        if held != session.encode():
            self._rows.put(bucket, b"", session.encode())
            if held is not None:
                yield from self._inboxes.end_transient(queue)
                yield from self._unbind_all(queue, held, frozenset(groups))
        if ttl or hidden:
            self._begin_terms(queue, Terms(hidden, ttl, asking.now))
        for number, group in enumerate(groups, 1):
            asking.change("Bind", group, name, session)
            if not number % STEP:
                yield
        if hidden and seen:
            assert held is not None
            asking.presence(name, "offline", held.decode())
        elif not hidden and not (seen and held == session.encode()):
            asking.presence(name, "online", session)

    def close(self, queue: bytes, session: bytes) -> Iterator[None]:
        """End the session if it is the open one, and its bindings in any case."""
        seen = False
        if self._rows.get(SESSION + queue, b"") == session:
            seen = not self._end_terms(queue).hidden
            self._rows.delete(SESSION + queue, b"")
            yield from self._inboxes.end_transient(queue)
        yield from self._unbind_all(queue, session, frozenset())
        if seen:
            self._asking.presence(queue.decode(), "offline", session.decode())

    def touch(self, queue: bytes, session: str) -> Iterator[None]:
        """Note that the session lives, if it is the open one."""
        if self._rows.get(SESSION + queue, b"") == session.encode():
            row = self._rows.get(SESSION + queue, TERMS)
            if row is not None:
                terms = unpack_terms(row)
                terms.heard = self._asking.now
                self._rows.put(SESSION + queue, TERMS, terms.pack())
        yield from ()

    def look(self, queue: bytes) -> Iterator[None]:
        """Close the session if it has been silent for too long; its timer is done with."""
        held = self._rows.get(SESSION + queue, b"")
        terms = unpack_terms(self._rows.get(SESSION + queue, TERMS))
        if held is None or not terms.ttl:
            return
        terms.due = 0
        if terms.heard + terms.ttl > self._asking.now:
            self._begin_terms(queue, terms)
        else:
            yield from self.close(queue, held)

    def is_open(self, queue: bytes) -> bool:
        """Tell whether a queue has an open session."""
        return self._rows.get(SESSION + queue, b"") is not None

    def end_all(self, queue: bytes) -> Iterator[None]:
        """Close the open session, and ask for the end of all bindings whatever."""
        held = self._rows.get(SESSION + queue, b"")
        if held is not None:
            yield from self.close(queue, held)
        name = queue.decode()
        for number, (group, session) in enumerate(self._rows.scan(BINDINGS + queue), 1):
            if held is None or session != held:
                self._asking.change("Unbind", group.decode(), name, session.decode() or None)
            if not number % STEP:
                yield

    def _begin_terms(self, queue: bytes, terms: Terms) -> None:
        if terms.ttl:
            terms.due = terms.heard + terms.ttl
            self._timers.set(Timer(terms.due, HEARTBEAT, queue))
        self._rows.put(SESSION + queue, TERMS, terms.pack())

    def _end_terms(self, queue: bytes) -> Terms:
        row = self._rows.get(SESSION + queue, TERMS)
        terms = unpack_terms(row)
        if row is not None:
            self._rows.delete(SESSION + queue, TERMS)
            if terms.due:
                self._timers.cancel(Timer(terms.due, HEARTBEAT, queue))
        return terms

    def _unbind_all(self, queue: bytes, session: bytes, but: frozenset[str]) -> Iterator[None]:
        """Ask for the end of all bindings of a session."""
        name, ending = queue.decode(), session.decode()
        for number, (group, held) in enumerate(self._rows.scan(BINDINGS + queue), 1):
            if held == session and (group_id := group.decode()) not in but:
                self._asking.change("Unbind", group_id, name, ending)
            if not number % STEP:
                yield
