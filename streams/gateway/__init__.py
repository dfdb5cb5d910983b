"""The HTTP side of a worker: any worker answers for the whole cluster.

Published events go straight to Kafka from whichever worker receives them.  A read needs the
rows of one table partition: the worker that owns it answers, any other forwards the request.
The gateway knows groups, queues and their records.  It does not import the engine: `ports`
states what it needs of it.
"""

from streams.gateway.gateway import Gateway

__all__ = ["Gateway"]
