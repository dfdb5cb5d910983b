"""Publishes and consumes with pika, an AMQP client: `amqp_pika.py [PORT]`.

Start a system with `STREAMS_AMQP_PORT=5672 streams up` first.
"""

from __future__ import annotations

import sys

import pika


def main(port: int = 5672) -> None:
    """Bind a queue to an exchange, publish three messages with confirms, and consume them."""
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()  # basic_publish returns once Kafka has the message
        channel.exchange_declare("orders", "direct", durable=True)
        channel.queue_declare("bakery", durable=True)
        channel.queue_bind("bakery", "orders", "bread")
        for number in range(1, 4):
            channel.basic_publish("orders", "bread", f"loaf {number}".encode())
        channel.basic_qos(prefetch_count=10)
        got = channel.consume("bakery", inactivity_timeout=60)
        for number, (method, _, body) in enumerate(got, 1):
            if method is None:
                raise SystemExit("nothing came within a minute")
            print(f"{method.routing_key}: {body.decode()}")
            channel.basic_ack(method.delivery_tag)
            if number == 3:
                break
        channel.cancel()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
