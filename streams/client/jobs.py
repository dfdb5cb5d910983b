"""Jobs: deliveries leased by one of several competing consumers."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Self

from streams.client.errors import ClientError, Unavailable
from streams.client.messages import Delivery

if TYPE_CHECKING:
    from streams.client.client import Client

logger = logging.getLogger(__name__)

EXTENSIONS_PER_LEASE = 3
SHORTEST_LEASE_SECONDS = 0.5


class Job:
    """A leased delivery: no other consumer gets it until the lease ends.

    As an async context manager it extends the lease for as long as the block takes.  A block
    that ends normally acknowledges the job; one that raises returns it to the queue at once.
    If the block itself calls `ack`, `nack` or `reject`, that stands.
    """

    __slots__ = ("_client", "_keeping", "_lease", "_settled", "consumer", "delivery")

    def __init__(
        self, delivery: Delivery, consumer: str, client: Client, lease: float | None = None
    ) -> None:
        self.delivery = delivery
        self.consumer = consumer
        self._client = client
        if lease is None:
            until = float(delivery.fields.get("until", 0)) / 1000
            lease = until - time.time()
        self._lease = max(SHORTEST_LEASE_SECONDS, lease)
        self._settled = False
        self._keeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Job({self.delivery!r}, consumer={self.consumer!r})"

    async def __aenter__(self) -> Self:
        self.keep()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.let_go()
        if self._settled:
            return
        if kind is None:
            await self.ack()
        else:
            await self.give_back()

    def keep(self) -> None:
        """Extend the lease in the background until `let_go` is called."""
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def let_go(self) -> None:
        """Stop extending the lease."""
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None

    async def give_back(self) -> None:
        """Return the job to the queue.  Failures are logged: the lease ends by itself."""
        self.let_go()
        try:
            await self.nack()
        except (ClientError, Unavailable) as error:
            logger.warning(
                "could not return a job to %s, its lease will end by itself: %s",
                self.delivery.queue,
                error,
            )

    @property
    def text(self) -> str:
        """The body as text; raises UnicodeDecodeError if it is not UTF-8."""
        return self.delivery.text

    @property
    def tries(self) -> int:
        """How often the job has been leased, including this time."""
        return int(self.delivery.fields.get("tries", 1))

    async def ack(self) -> None:
        """Acknowledge the job: it is done."""
        await self.delivery.ack()
        self._settled = True

    async def nack(self, *, delay: float = 0.0) -> None:
        """Return the job to the queue; it becomes available after `delay` seconds."""
        await self._nack("retry", delay)
        self._settled = True

    async def reject(self) -> None:
        """Give up on the job; it goes to the dead-letter queue, if there is one."""
        await self._nack("reject", 0.0)
        self._settled = True

    async def extend(self, seconds: float) -> None:
        """Make the lease last `seconds` from now."""
        await self._nack("extend", seconds)

    async def _nack(self, outcome: str, delay: float) -> None:
        one = self.delivery
        await self._client.nack(
            one.queue, [one.seq], outcome=outcome, delay=delay, consumer=self.consumer
        )

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease / EXTENSIONS_PER_LEASE)
            if self._settled:
                return
            try:
                await self.extend(self._lease)
            except (ClientError, Unavailable) as error:
                logger.warning(
                    "could not extend the lease of a job of %s, will retry: %s",
                    self.delivery.queue,
                    error,
                )
