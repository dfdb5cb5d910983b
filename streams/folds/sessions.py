"""Sessions of queues: which is open, what ends with it, who is told, how long it may be silent.

Rows: ``s`` queue with an empty suffix holds the open session; with the suffix ``t``, where
there is more to know of it, a byte (1: nobody is told) and 8 bytes each for how long it may
be silent, when it was last heard of, and when that is looked at (milliseconds; 0: never).
With the suffix ``c``, 8 bytes of time and the session that was closed then and has not been
cleared away yet; row ``z`` holds 8 bytes of time and how many were closed at that time.

A session that is closed leaves bindings, which are asked to be unbound, and transient
deliveries.  Where many are closed at once, that is done by the Ticks that follow, some in
each, so that ten thousand of them do not stand before the next message; but before anything
else happens to the session of that queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from streams.fold import Rows
from streams.folds.asking import Asking
from streams.folds.inbox import SESSION, STEP, Inboxes
from streams.folds.timers import CLOSING, HEARTBEAT, Timer, Timers

BINDINGS: Final = b"b"
TERMS: Final = b"t"

ENDED: Final = b"c"
_BUSY: Final = b"z"
AT_ONCE: Final = 4
"""Sessions closed in the same millisecond of the log that are cleared away at once."""

_terms = Struct(">BQQQ")
_busy = Struct(">QH")


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

        An Unbind between the old binding and the new would lose what is sent meanwhile: it
        comes after the Bind with the new session, which has covered the old one's by then.
        """
        asking = self._asking
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
            self._begin_terms(queue, Terms(hidden, ttl, asking.now))
        for number, group in enumerate(groups, 1):
            asking.change("Bind", group, name, session)
            if not number % STEP:
                yield
        for number, group in enumerate(both, 1):
            assert held is not None
            asking.change("Unbind", group, name, held.decode())
            if not number % STEP:
                yield
        if hidden and seen:
            assert held is not None
            asking.presence(name, "offline", held.decode())
        elif not hidden and not (seen and held == session.encode()):
            asking.presence(name, "online", session)

    def close(self, queue: bytes, session: bytes) -> Iterator[None]:
        """End the session if it is the open one, and its bindings in any case."""
        yield from self.clear(queue)
        if self._rows.get(SESSION + queue, b"") != session:
            yield from self._unbind_all(queue, session, frozenset())
            return
        seen = not self._end_terms(queue).hidden
        self._rows.delete(SESSION + queue, b"")
        if self._many():
            now = self._asking.now
            self._rows.put(SESSION + queue, ENDED, now.to_bytes(8, "big") + session)
            self._timers.set(Timer(now, CLOSING, queue))
        else:
            yield from self._clear(queue, session)
        if seen:
            self._asking.presence(queue.decode(), "offline", session.decode())

    def clear(self, queue: bytes) -> Iterator[None]:
        """Clear away what a session has left that was closed, if that is still to be done."""
        row = self._rows.get(SESSION + queue, ENDED)
        if row is not None:
            self._rows.delete(SESSION + queue, ENDED)
            self._timers.cancel(Timer(int.from_bytes(row[:8], "big"), CLOSING, queue))
            yield from self._clear(queue, row[8:])

    def _clear(self, queue: bytes, session: bytes) -> Iterator[None]:
        yield from self._inboxes.end_transient(queue)
        yield from self._unbind_all(queue, session, frozenset())

    def _many(self) -> bool:
        """Count a session that is closed now; True when others were, more than a few."""
        row = self._rows.get(_BUSY, b"")
        time, number = (0, 0) if row is None else _busy.unpack(row)
        now = self._asking.now
        number = number + 1 if time == now else 1
        if number <= AT_ONCE + 1:
            self._rows.put(_BUSY, b"", _busy.pack(now, number))
        return number > AT_ONCE

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
        yield from self.clear(queue)
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
