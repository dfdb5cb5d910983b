"""Jobs: deliveries that one of several competing consumers has for a while."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.client.messages import Delivery

if TYPE_CHECKING:
    from streams.client.client import Client


@dataclass(frozen=True, slots=True)
class Job:
    """A leased delivery: nobody else gets it before the lease ends."""

    delivery: Delivery
    consumer: str
    _client: Client = field(repr=False, compare=False)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.delivery.text

    async def ack(self) -> None:
        """Be done with it, once for all."""
        await self.delivery.ack()

    async def nack(self, *, delay: float = 0.0) -> None:
        """Give it back: it is to be had again after `delay` seconds."""
        await self._nack("retry", delay)

    async def reject(self) -> None:
        """Give it up: it goes to the dead-letter queue, if there is one."""
        await self._nack("reject", 0.0)

    async def extend(self, seconds: float) -> None:
        """Have the lease last for so many seconds from now."""
        await self._nack("extend", seconds)

    async def _nack(self, outcome: str, delay: float) -> None:
        one = self.delivery
        await self._client.nack(
            one.queue, [one.seq], outcome=outcome, delay=delay, consumer=self.consumer
        )
