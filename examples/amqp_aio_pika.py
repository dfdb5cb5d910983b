"""A job queue with retries over AMQP, with aio-pika: `amqp_aio_pika.py [PORT]`.

Start a system with `STREAMS_AMQP_PORT=5672 streams up` first.  A job that fails goes to the
exchange `failed`, waits in `later` for a second, and comes back; `x-death` counts how often it
failed.
"""

from __future__ import annotations

import asyncio
import sys

import aio_pika


async def main(port: int = 5672) -> None:
    """Declare the queues, send three jobs, and do them; one of them fails twice."""
    async with await aio_pika.connect(host="127.0.0.1", port=port) as connection:
        channel = await connection.channel()  # with confirms: publish returns once Kafka has it
        await channel.set_qos(prefetch_count=10)
        await channel.declare_exchange("failed", "fanout", durable=True)
        jobs = await channel.declare_queue(
            "jobs", durable=True, arguments={"x-dead-letter-exchange": "failed"}
        )
        later = await channel.declare_queue(
            "later",
            durable=True,
            arguments={
                "x-message-ttl": 1000,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": "jobs",
            },
        )
        await later.bind("failed")
        for name in ("wash", "bake", "clean"):
            await channel.default_exchange.publish(aio_pika.Message(name.encode()), "jobs")

        done = 0
        async with jobs.iterator(timeout=60) as messages:
            async for message in messages:
                deaths = message.headers.get("x-death", [])
                failures = sum(one["count"] for one in deaths if one["reason"] == "rejected")
                if message.body == b"bake" and failures < 2:
                    await message.reject(requeue=False)
                    continue
                print(f"{message.body.decode()}: done after {failures} failures")
                await message.ack()
                done += 1
                if done == 3:
                    break


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
