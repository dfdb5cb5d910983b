"""Many queues over few connections, as a gateway to another protocol would hold them.

    python examples/many_queues.py [URL of a worker ...]

With `follow_owners` the client subscribes to each queue at the worker that owns it.
"""

import asyncio
import sys
import time
import uuid

from streams.client import Client, Draft

TOWN = f"town-{uuid.uuid4()}"
RESIDENTS = [f"{TOWN}/{number}" for number in range(500)]


async def main() -> None:
    """Publish four notices to 500 queues and read them all."""
    async with (
        Client(*sys.argv[1:], follow_owners=True) as client,
        client.subscribe(*RESIDENTS) as deliveries,
    ):
        await client.send_events(
            {"type": "bind", "group": TOWN, "queue": resident} for resident in RESIDENTS
        )
        began = time.perf_counter()
        await client.publish_many([Draft(f"notice {n}", group=TOWN) for n in range(4)])
        heard: dict[str, list[str]] = {}
        for _ in range(4 * len(RESIDENTS)):
            delivery = await anext(deliveries)
            heard.setdefault(delivery.queue, []).append(delivery.text)
        seconds = time.perf_counter() - began
    assert heard == {resident: [f"notice {n}" for n in range(4)] for resident in RESIDENTS}
    print(f"{4 * len(RESIDENTS)} deliveries to {len(RESIDENTS)} queues in {seconds:.2f} s")


asyncio.run(main())
