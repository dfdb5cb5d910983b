"""What each path and method needs: one table, and nothing goes without an entry in it.

What is in a path is checked here, before its handler runs.  What is in a body is checked
where events are made of it (`event_parser`), for each of them, however they came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from streams.gateway.http.context import RequestContext

Rule: TypeAlias = Callable[["RequestContext"], None]
"""Raises `Forbidden` when the principal of the call may not do this."""


def anybody(context: RequestContext) -> None:
    """No token is asked for: probes, and what is public knowledge."""


def token_later(context: RequestContext) -> None:
    """A token may come later, on the stream; until then nothing is granted there."""


def any_token(context: RequestContext) -> None:
    """A valid token; what it must grant depends on each event of the body."""


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


def _observe(context: RequestContext) -> None:
    context.principal.permissions.check_observe()


def _admin(context: RequestContext) -> None:
    context.principal.permissions.check_admin()


ACCESS: Final[dict[tuple[str, str], Rule]] = {
    ("PUT", "/v1/groups/{group}/queues/{queue}"): _bind,
    ("DELETE", "/v1/groups/{group}/queues/{queue}"): _bind,
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
"""By method (GET is HEAD too) and the template of the route."""


def check_access(context: RequestContext, method: str, template: str) -> None:
    """See that the principal may have what the path names.

    Raises:
        Forbidden: no.
        HTTPError: 400, an id in the path is none.
    """
    ACCESS[method, template](context)
