"""AMQP 0-9-1 at a port of its own: the clients that people already have.

`docs/how-to/amqp.md` says which parts of the protocol there are, and what differs from RabbitMQ.
"""
