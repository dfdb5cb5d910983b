"""The permission that each method and path needs; without an entry, a path is closed.

Ids in a path are checked here, before its handler runs.  Ids in a body are checked for each
event, in `event_parser`, whichever way the event arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from streams.gateway.amqp import names
from streams.gateway.http.context import RequestContext

Rule: TypeAlias = Callable[[RequestContext], None]
"""Raises `Forbidden` if the principal lacks the permission."""


def anybody(context: RequestContext) -> None:
    """No token needed: probes and public information."""


def token_later(context: RequestContext) -> None:
    """The client may send its token later, on the stream; until then it has no permissions."""


def any_token(context: RequestContext) -> None:
    """Any valid token; each event of the body needs its own permission."""


def _bind(context: RequestContext) -> None:
    context.principal.permissions.check_binding(context.id("group"), context.id("queue"))


def _publish_to_group(context: RequestContext) -> None:
    context.principal.permissions.check_publish(context.destination("group"))


def _publish_to_queue(context: RequestContext) -> None:
    context.principal.permissions.check_publish("@" + context.id("queue"))


def _read_group(context: RequestContext) -> None:
    context.principal.permissions.check_read(context.destination("group"))


def _own_queue(context: RequestContext) -> None:
    context.principal.permissions.check_queue(context.id("queue"))


def _mark(context: RequestContext) -> None:
    """A client has a mark behind what it did to a group, for a queue of its own."""
    permissions, group = context.principal.permissions, context.destination("group")
    permissions.check_queue(context.id("queue"))
    if not (permissions.bind.match(group) or permissions.read.match(group)):
        permissions.check_publish(group)


def _own_exchange(context: RequestContext) -> None:
    group = names.prefix(context.id("exchange"))
    context.principal.permissions.check_group(group)


def _observe(context: RequestContext) -> None:
    context.principal.permissions.check_observe()


def _admin(context: RequestContext) -> None:
    context.principal.permissions.check_admin()


ACCESS: Final[dict[tuple[str, str], Rule]] = {
    ("PUT", "/v1/groups/{group}/queues/{queue}"): _bind,
    ("DELETE", "/v1/groups/{group}/queues/{queue}"): _bind,
    ("GET", "/v1/groups/{group}/queues/{queue}/patterns"): _bind,
    ("PUT", "/v1/groups/{group}/queues/{queue}/patterns/{pattern}"): _bind,
    ("DELETE", "/v1/groups/{group}/queues/{queue}/patterns/{pattern}"): _bind,
    ("GET", "/v1/groups/{group}/queues"): _read_group,
    ("POST", "/v1/groups/{group}/messages"): _publish_to_group,
    ("GET", "/v1/groups/{group}/messages"): _read_group,
    ("POST", "/v1/groups/{group}/replays"): _read_group,
    ("GET", "/v1/queues/{queue}"): _own_queue,
    ("GET", "/v1/queues/{queue}/messages"): _own_queue,
    ("POST", "/v1/queues/{queue}/messages"): _publish_to_queue,
    ("POST", "/v1/queues/{queue}/acks"): _own_queue,
    ("GET", "/v1/queues/{queue}/groups"): _own_queue,
    ("GET", "/v1/queues/{queue}/events"): _own_queue,
    ("PUT", "/v1/queues/{queue}/sessions/{session}"): _own_queue,
    ("DELETE", "/v1/queues/{queue}/sessions/{session}"): _own_queue,
    ("POST", "/v1/queues/{queue}/sessions/{session}/heartbeats"): _own_queue,
    ("DELETE", "/v1/queues/{queue}"): _own_queue,
    ("GET", "/v1/queues/{queue}/options"): _own_queue,
    ("PUT", "/v1/queues/{queue}/options"): _own_queue,
    ("POST", "/v1/queues/{queue}/leases"): _own_queue,
    ("POST", "/v1/queues/{queue}/nacks"): _own_queue,
    ("POST", "/v1/queues/{queue}/purge"): _own_queue,
    ("POST", "/v1/events"): any_token,
    ("GET", "/v1/exchanges"): any_token,
    ("GET", "/v1/amqp/connections/{connection}"): any_token,
    ("GET", "/v1/exchanges/{exchange}/bindings/{partition}"): _own_exchange,
    ("POST", "/v1/groups/{group}/marks/{queue}"): _mark,
    ("GET", "/v1/stream"): token_later,
    ("GET", "/v1/tables/{table}/{partition}/rows"): _admin,
    ("GET", "/v1/cluster"): _observe,
    ("GET", "/metrics"): _observe,
    ("GET", "/healthz"): anybody,
    ("GET", "/readyz"): anybody,
    ("GET", "/v1/openapi.json"): anybody,
    ("GET", "/"): anybody,
    ("GET", "/page/{file}"): anybody,
}
"""By method (GET covers HEAD) and template of the path."""


def check_access(context: RequestContext, method: str, template: str) -> None:
    """Check that the principal has the permission that a path needs.

    Raises:
        Forbidden: the principal lacks the permission.
        HTTPError: 400 if an id in the path is invalid.
    """
    ACCESS[method, template](context)
