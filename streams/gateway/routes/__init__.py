"""What each path of the gateway does: one module, and one class of handlers, per subject.

A handler reads its parameters, calls the services that its class was given, and responds.
"""

from streams.gateway.http.routing import Routes
from streams.gateway.routes.amqp import AMQPRoutes
from streams.gateway.routes.cluster import ClusterRoutes
from streams.gateway.routes.events import EventRoutes
from streams.gateway.routes.exchanges import ExchangeRoutes
from streams.gateway.routes.groups import GroupRoutes
from streams.gateway.routes.history import HistoryRoutes
from streams.gateway.routes.leases import LeaseRoutes
from streams.gateway.routes.marks import MarkRoutes
from streams.gateway.routes.openapi import OpenAPIRoutes
from streams.gateway.routes.options import OptionRoutes
from streams.gateway.routes.page import PageRoutes
from streams.gateway.routes.queue_events import QueueEventRoutes
from streams.gateway.routes.queues import QueueRoutes
from streams.gateway.routes.sessions import SessionRoutes
from streams.gateway.routes.stream import StreamRoutes
from streams.gateway.routes.tables import TableRoutes

CLASSES: tuple[type[Routes], ...] = (
    GroupRoutes,
    HistoryRoutes,
    QueueRoutes,
    OptionRoutes,
    LeaseRoutes,
    QueueEventRoutes,
    StreamRoutes,
    SessionRoutes,
    EventRoutes,
    AMQPRoutes,
    ExchangeRoutes,
    MarkRoutes,
    TableRoutes,
    ClusterRoutes,
    OpenAPIRoutes,
    PageRoutes,
)
ROUTES = [route for one in CLASSES for route in one.ROUTES]
"""All routes, with unbound handlers: the gateway binds them to objects with services."""
