"""The table of exchanges: an inbox, so that all workers see one table and nothing is lost.

A declaration is a message in the queue `names.TABLE`.  The first of a name, by seq, is the
exchange; a later one that lost a race is removed by who wrote it.  Deleting an exchange
acknowledges its messages.  A worker knows the table for `FRESH_SECONDS`, then reads it again
when it needs it; exchanges that it knows stay usable while the owner of the queue does not answer.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from streams.fold import Rows
from streams.folds import views
from streams.gateway.amqp import names
from streams.gateway.amqp.errors import (
    INTERNAL_ERROR,
    NOT_FOUND,
    PRECONDITION_FAILED,
    RESOURCE_ERROR,
    AMQPError,
)
from streams.gateway.amqp.questions import Questions
from streams.gateway.ports import RecordToSend
from streams.gateway.writes.event_parser import EventParser
from streams.ids import direct_group
from streams.repeats import REPEATING
from streams.security.permissions import ALL
from streams.settings import Settings

logger = logging.getLogger(__name__)

KIND: Final = "exchange"
"""Kind of the messages that are declarations."""
MOST: Final = 10_000
"""Exchanges that there may be."""
FRESH_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 1.0
"""How long a known exchange is waited for to be read again, while that is begun."""
ARRIVAL_SECONDS: Final = 60.0
"""How long a declaration may be on its way to the table, through both folds."""
ARRIVAL_PAUSE_SECONDS: Final = 0.02

TYPES: Final = (names.DIRECT_TYPE, names.FANOUT_TYPE, names.TOPIC_TYPE)
PREDECLARED: Final = {
    names.DEFAULT: names.DIRECT_TYPE,
    names.DIRECT_EXCHANGE: names.DIRECT_TYPE,
    names.FANOUT_EXCHANGE: names.FANOUT_TYPE,
    names.TOPIC_EXCHANGE: names.TOPIC_TYPE,
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange, as it was declared."""

    name: str
    type: str
    durable: bool
    auto_delete: bool
    seqs: tuple[int, ...] = ()
    """Seqs of its declarations; the first one counts."""
    ids: tuple[str, ...] = ()
    """Ids of these messages, in the same order."""

    def shown(self) -> dict[str, Any]:
        """Return the exchange as JSON has it."""
        return asdict(self)


def declarations(rows: Rows) -> list[Exchange]:
    """Return all exchanges, in the order in which they were declared."""
    found: dict[str, Exchange] = {}
    for seq, message in views.inbox(rows, names.TABLE):
        headers = message.headers
        name, kind = headers.get("name", ""), headers.get("type", "")
        if message.kind != KIND or not name or kind not in TYPES:
            continue  # no door of this version wrote it
        first = found.get(name)
        if first is None:
            durable, auto_delete = (headers.get(of) == "true" for of in ("durable", "auto_delete"))
            found[name] = Exchange(name, kind, durable, auto_delete, (seq,), (message.id,))
        else:
            found[name] = replace(first, seqs=(*first.seqs, seq), ids=(*first.ids, message.id))
    return list(found.values())


class Exchanges:
    """The table as one worker knows it, for all of its connections."""

    def __init__(self, settings: Settings) -> None:
        self.partitions = settings.partitions
        """Partitions of the groups that exchanges stand for."""
        self._parser = EventParser(settings, ALL)
        self._found: dict[str, Exchange] = {}
        self._read_at = -FRESH_SECONDS
        self._reading = asyncio.Lock()
        self._again: asyncio.Task[None] | None = None
        self._again_at = 0.0

    def __len__(self) -> int:
        return len(self._found)

    async def type_of(self, name: str, questions: Questions) -> str:
        """Return the type of an exchange.

        Raises:
            AMQPError: 404, there is no such exchange; 541, the table cannot be read.
        """
        known = PREDECLARED.get(name)
        if known is not None:
            return known
        found = await self.find(name, questions)
        if found is None:
            raise AMQPError(NOT_FOUND, f"no exchange {name!r} in vhost '/'")
        return found.type

    async def find(self, name: str, questions: Questions) -> Exchange | None:
        """Return an exchange that was declared; None without it.  Raises as `type_of`."""
        known = self._found.get(name)
        if known is not None and time.monotonic() - self._read_at < FRESH_SECONDS:
            return known
        if known is None:
            await self.read(questions)
        else:
            await self._look_again(questions)
        return self._found.get(name)

    async def read(self, questions: Questions) -> None:
        """Read the table, once for all who wait for it."""
        asked = time.monotonic()
        async with self._reading:
            if self._read_at >= asked:
                return  # another connection read it meanwhile
            began = time.monotonic()
            self._found = {one["name"]: _of(one) for one in await questions.exchanges()}
            self._read_at = began

    async def _look_again(self, questions: Questions) -> None:
        """Read the table, or go on with what is known while its owner does not answer.

        Publishing would otherwise stand still, whatever the message, while one partition moves.
        """
        if self._again is None:
            self._again = asyncio.create_task(self.read(questions))
            self._again.add_done_callback(self._looked)
            self._again_at = time.monotonic()
        left = self._again_at + PATIENCE_SECONDS - time.monotonic()
        await asyncio.wait([self._again], timeout=max(0.0, left))

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._again = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.warning(
                "the table of exchanges cannot be read, going on with what is known: %s",
                error,
                extra=REPEATING,
            )

    async def arrived(self, name: str, message_id: str, questions: Questions) -> Exchange:
        """Wait until a declaration is in the table, and return the exchange of that name.

        Raises:
            AMQPError: 541, it does not arrive in time.
        """
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while time.monotonic() < deadline:
            await self.read(questions)
            found = self._found.get(name)
            if found is not None and message_id in found.ids:
                return found
            await asyncio.sleep(ARRIVAL_PAUSE_SECONDS)
        raise AMQPError(INTERNAL_ERROR, f"exchange {name!r} was declared, but is not there yet")

    def declaration(self, exchange: Exchange) -> RecordToSend:
        """Return the record that declares an exchange.

        Raises:
            AMQPError: 406 for a name that groups cannot have, 506 for too many exchanges.
        """
        names.group(exchange.name, names.FANOUT_TYPE, "")
        if len(self._found) >= MOST:
            raise AMQPError(RESOURCE_ERROR, f"there may be at most {MOST} exchanges")
        headers = {
            "name": exchange.name,
            "type": exchange.type,
            "durable": str(exchange.durable).lower(),
            "auto_delete": str(exchange.auto_delete).lower(),
        }
        body = base64.b64encode(b"").decode()
        content = {"kind": KIND, "headers": headers, "body_base64": body}
        return self._parser.message(direct_group(names.TABLE), content)

    def removal(self, seqs: tuple[int, ...]) -> RecordToSend:
        """Return the record that removes declarations."""
        return self._parser.ack(names.TABLE, {"seqs": list(seqs)})

    def unbinding(self, group: str, queue: str) -> RecordToSend:
        """Return the record that ends a binding of an exchange that is deleted."""
        return self._parser.unbind(group, queue)


def _of(shown: dict[str, Any]) -> Exchange:
    return Exchange(**{**shown, "seqs": tuple(shown["seqs"]), "ids": tuple(shown["ids"])})


def check_same(found: Exchange, wanted: Exchange) -> None:
    """Check that a declaration asks for what there is; raises 406 if it does not."""
    for field in ("type", "durable", "auto_delete"):
        is_, asked = getattr(found, field), getattr(wanted, field)
        if is_ != asked:
            raise AMQPError(
                PRECONDITION_FAILED,
                f"inequivalent arg {field!r} for exchange {found.name!r}: received {asked!r}, "
                f"current is {is_!r}",
            )
