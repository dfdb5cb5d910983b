"""The Python client: publish, bind, hold sessions, and receive from many queues.

    from streams.client import Client

    async with Client("http://127.0.0.1:6066") as client:
        await client.bind("room", "alice")
        await client.publish("room", "hello", sender="bob")
        async with client.subscribe("alice") as deliveries:
            async for delivery in deliveries:
                print(delivery.sender, delivery.text)

Any worker can serve every request; with several URLs the client fails over between them.
It needs only aiohttp.  `streams.client.direct` writes to Kafka without going through a worker.
"""

from streams.client.client import Client
from streams.client.credentials import TokenSource
from streams.client.draft import Draft
from streams.client.errors import (
    ClientClosed,
    ClientError,
    QueueDeleted,
    Refused,
    SessionLost,
    Unavailable,
)
from streams.client.jobs import Job
from streams.client.messages import Delivery, Published, QueueSummary
from streams.client.session import Session
from streams.client.subscription import Subscription

__all__ = [
    "Client",
    "ClientClosed",
    "ClientError",
    "Delivery",
    "Draft",
    "Job",
    "Published",
    "QueueDeleted",
    "QueueSummary",
    "Refused",
    "Session",
    "SessionLost",
    "Subscription",
    "TokenSource",
    "Unavailable",
]
