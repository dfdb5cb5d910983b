"""How queues get options, and how they end: by a Delete, or unused for too long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from streams.events.records import Configure
from streams.folds.emitter import Emitter
from streams.folds.inbox import Inboxes
from streams.folds.notices import Notices
from streams.folds.options import DROP_OLDEST, Queue, Queues
from streams.folds.sessions import Sessions
from streams.folds.timers import UNUSED, Timer, Timers


class Lifetimes:
    """Configures and deletes the queues of one partition."""

    def __init__(
        self,
        timers: Timers,
        queues: Queues,
        inboxes: Inboxes,
        sessions: Sessions,
        emitter: Emitter,
        notices: Notices,
    ) -> None:
        self._timers = timers
        self._queues = queues
        self._inboxes = inboxes
        self._sessions = sessions
        self._emitter = emitter
        self._notices = notices

    def configure(self, queue: bytes, options: Configure) -> Iterator[None]:
        """Replace a queue's options; those of `only_new`, if it has none."""
        state = self._queues.get(queue)
        if options.only_new:
            if state is not None and state.has_options():
                return
            options = replace(options, only_new=False)
        if state is None:
            state = self._queues.add(queue, options)
            yield from self._inboxes.count(queue, state)
        else:
            state.options = options
        if options.overflow == DROP_OLDEST:
            yield from self._inboxes.trim(queue, state)
        if state.due:
            self._timers.cancel(Timer(state.due, UNUSED, queue))
            state.due = 0
        state.used = self._emitter.now
        self._plan(queue, state)
        self._queues.save(queue, state)
        self._notices.configured(queue)

    def used(self, queue: bytes) -> None:
        """Note that a queue was used."""
        state = self._queues.get(queue)
        if state is not None and state.due and state.used != self._emitter.now:
            state.used = self._emitter.now
            self._queues.save(queue, state)

    def look(self, queue: bytes) -> Iterator[None]:
        """Delete a queue that was unused for too long; its timer has fired."""
        state = self._queues.get(queue)
        if state is None or state.options.ttl_ms is None:
            return
        state.due = 0
        if self._sessions.is_open(queue):
            state.used = self._emitter.now
        if state.used + state.options.ttl_ms > self._emitter.now:
            self._plan(queue, state)
            self._queues.save(queue, state)
        else:
            yield from self.delete(queue)

    def delete(self, queue: bytes) -> Iterator[None]:
        """Delete a queue: session, deliveries and options; ask route to drop its bindings."""
        yield from self._sessions.end_all(queue)
        yield from self._inboxes.purge(queue)
        state = self._queues.get(queue)
        if state is not None:
            if state.due:
                self._timers.cancel(Timer(state.due, UNUSED, queue))
            self._queues.remove(queue)
        self._inboxes.forget(queue)
        self._notices.deleted(queue, self._emitter.offset)

    def _plan(self, queue: bytes, state: Queue) -> None:
        if state.options.ttl_ms is not None:
            state.due = state.used + state.options.ttl_ms
            self._timers.set(Timer(state.due, UNUSED, queue))
