"""Publishing to Kafka without going through a worker, and reading through one.

    python examples/direct_producer.py URL BROKERS [NAMESPACE]

The namespace is the STREAMS_NAMESPACE of the workers.  Needs the extra `direct`.
"""

import asyncio
import sys
import uuid

from streams.client import Client, Draft
from streams.client.direct import DirectProducer


async def main() -> None:
    """Bind and publish directly; read with the client."""
    url, brokers, namespace = [*sys.argv[1:], ""][:3]
    sensor, reader = f"sensor-{uuid.uuid4()}", f"reader-{uuid.uuid4()}"
    async with DirectProducer(brokers, namespace=namespace) as producer:
        await producer.bind(sensor, reader)
        await producer.publish_many(
            Draft(str(number), group=sensor, kind="reading") for number in range(1000)
        )
    async with Client(url) as client, client.subscribe(reader) as readings:
        values = [int((await anext(readings)).text) for _ in range(1000)]
    assert values == list(range(1000))
    print("a thousand readings, in order")


asyncio.run(main())
