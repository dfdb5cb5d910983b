"""The HTTP side of a worker: any worker answers for the whole cluster.

Publishing goes straight to Kafka from wherever the request arrives.  Reading needs the
rows of one table partition: the worker that owns it answers, any other forwards.  The
gateway knows groups, queues and their records; it does not import the engine, and sees
of it only what `ports` says.
"""

from streams.gateway.http.server import Gateway

__all__ = ["Gateway"]
