"""What each path takes and answers: one entry for each method of each route.

Plain data, for `document`.  A path that is added to the routes is described here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.gateway.openapi.schemas import Schema, ref

NDJSON = "application/x-ndjson"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"
PLAIN = "text/plain"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, or a request header."""

    name: str
    schema: Schema
    description: str = ""
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    tag: str
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    body_type: str = JSON
    body_required: bool = True
    status: int = 204
    """Of the answer that all went well."""
    answer: Schema | None = None
    answer_type: str = JSON
    errors: tuple[int, ...] = field(default=(400, 429, 503))
    internal: bool = False
    empty: bool = False
    """Whether all may be well with nothing to say, too (204)."""


def _limit(default: int, most: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter("limit", schema, "Maximum number of entries.")


_AFTER_SEQ = Parameter("after", ref("Seq"), "Start after this seq.")
_PAGE = (
    Parameter("after", ref("Id"), "Start after this id: the `next` of the previous page."),
    _limit(100, 1000),
)
_WAIT = Parameter(
    "wait",
    {"type": "number", "minimum": 0, "maximum": 60, "default": 0},
    "How many seconds to wait for a first result; decimals are allowed.",
)
_ROUTING_KEY = Parameter(
    "routing_key",
    ref("Pattern"),
    "Only queues that a message with this routing key reaches, by the patterns of their bindings.",
)
_CONFIRMED = "Answers once Kafka has confirmed it; safe to repeat."
_READS = (400, 503)
_WRITES = (400, 408, 413, 415, 429, 503)


def _read(
    tag: str,
    summary: str,
    answer: str,
    description: str = "",
    parameters: tuple[Parameter, ...] = (),
    errors: tuple[int, ...] = _READS,
) -> Operation:
    """Return an operation that is answered with what there is."""
    return Operation(
        tag, summary, description, parameters, status=200, answer=ref(answer), errors=errors
    )


def _write(
    tag: str,
    summary: str,
    description: str,
    body: str,
    *,
    required: bool = True,
) -> Operation:
    """Return an operation that publishes what its body says; there is nothing to answer."""
    return Operation(
        tag, summary, description, body=ref(body), body_required=required, errors=_WRITES
    )


def _send(summary: str, description: str = "") -> Operation:
    """Return an operation that publishes a message."""
    return Operation(
        "messages",
        summary,
        description,
        body=ref("Draft"),
        status=201,
        answer=ref("Published"),
        errors=_WRITES,
    )


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/v1/groups/{group}/queues/{queue}", "PUT"): Operation(
        "groups", "Bind a queue to a group", _CONFIRMED
    ),
    ("/v1/groups/{group}/queues/{queue}", "DELETE"): Operation(
        "groups", "Remove a binding, with or without a session", _CONFIRMED
    ),
    ("/v1/groups/{group}/queues/{queue}/patterns", "GET"): _read(
        "groups",
        "List the patterns of a binding",
        "Patterns",
        "Sorted by bytes, ascending; none if the queue gets every message, or is not bound. "
        "`patterns_of_group` counts those of all bindings of the group, of which there may be "
        "10,000.",
    ),
    ("/v1/groups/{group}/queues/{queue}/patterns/{pattern}", "PUT"): Operation(
        "groups",
        "Bind a queue to messages whose routing keys match a pattern",
        "Adds a pattern to the binding, and makes it if there is none. A queue that is bound "
        "without a pattern gets every message; patterns add nothing. " + _CONFIRMED,
    ),
    ("/v1/groups/{group}/queues/{queue}/patterns/{pattern}", "DELETE"): Operation(
        "groups",
        "Remove a pattern from a binding, and the binding with its last one",
        _CONFIRMED,
    ),
    ("/v1/groups/{group}/queues", "GET"): _read(
        "groups",
        "List the queues bound to a group",
        "Members",
        "Sorted by bytes, ascending.",
        (*_PAGE, _ROUTING_KEY),
    ),
    ("/v1/groups/{group}/messages", "POST"): _send(
        "Send a message to a group",
        "Every queue bound at the message's position in the log gets it exactly once. The group "
        "`@Q` means queue Q itself.",
    ),
    ("/v1/groups/{group}/messages", "GET"): _read(
        "groups",
        "Read the history of a group",
        "Past",
        "From the log, within its retention, without expired messages. One answer covers a "
        "bounded part of the log and may hold no messages: continue from `next` until `end`.",
        (
            Parameter("from", ref("Moment"), "First offset or time; the oldest record by default."),
            Parameter("to", ref("Moment"), "Stop before this offset or time."),
            _limit(100, 1000),
            _WAIT,
        ),
        (400, 429, 503),
    ),
    ("/v1/groups/{group}/replays", "POST"): Operation(
        "groups",
        "Replay a range of a group's history into a queue",
        "Sends the queue a copy of each message, with headers that hold its position. Continue "
        "from `next` until `end`. Safe to repeat within ten minutes.",
        body=ref("Replay"),
        status=200,
        answer=ref("Replayed"),
        errors=_WRITES,
    ),
    ("/v1/queues/{queue}/messages", "POST"): _send("Send a message directly to a queue"),
    ("/v1/queues/{queue}/messages", "GET"): _read(
        "queues",
        "Read an inbox",
        "Inbox",
        "Returns unacknowledged messages in order; waits up to `wait` seconds if there are none.",
        (_AFTER_SEQ, _limit(100, 1000), _WAIT),
        errors=(400, 410, 503),
    ),
    ("/v1/queues/{queue}/events", "GET"): Operation(
        "queues",
        "Follow an inbox as server-sent events",
        "Each event's id is a seq, and its data a Delivery. Reconnect with `Last-Event-ID`. The "
        "stream ends when the queue moves to another worker, and after an event `deleted` when "
        "the queue is deleted.",
        (
            _AFTER_SEQ,
            Parameter("Last-Event-ID", ref("Seq"), "Start after this seq.", where="header"),
        ),
        status=200,
        answer={"type": "string"},
        answer_type=EVENT_STREAM,
        errors=_READS,
    ),
    ("/v1/queues/{queue}/acks", "POST"): _write(
        "queues",
        "Acknowledge deliveries",
        "Removes all deliveries up to a seq, or single ones, for good. " + _CONFIRMED,
        "Ack",
    ),
    ("/v1/queues/{queue}", "GET"): _read(
        "queues", "Show depth, groups and session of a queue, and whether it has options", "Queue"
    ),
    ("/v1/exchanges", "GET"): _read(
        "groups",
        "List the exchanges of AMQP",
        "Exchanges",
        "Those that clients have declared, in order; not the predeclared ones.",
    ),
    ("/v1/queues/{queue}/groups", "GET"): _read(
        "queues", "List the groups that a queue is bound to", "Bindings", parameters=_PAGE
    ),
    ("/v1/queues/{queue}/sessions/{session}", "PUT"): _write(
        "sessions",
        "Open a session",
        "Binds the queue to the groups while the session is open. Replaces another open session of "
        "the queue, whose bindings end. " + _CONFIRMED,
        "Session",
        required=False,
    ),
    ("/v1/queues/{queue}/sessions/{session}", "DELETE"): Operation(
        "sessions", "Close a session", "Its bindings end. " + _CONFIRMED
    ),
    ("/v1/queues/{queue}/sessions/{session}/heartbeats", "POST"): Operation(
        "sessions",
        "Keep a session open",
        "A session with `ttl_seconds` is closed after that long without a heartbeat. " + _CONFIRMED,
        errors=(400, 404, 429, 503),
    ),
    ("/v1/queues/{queue}/options", "GET"): _read(
        "queues", "Show the options of a queue", "Options"
    ),
    ("/v1/queues/{queue}/options", "PUT"): _write(
        "queues",
        "Set all options of a queue",
        "An option that is left out returns to its default. " + _CONFIRMED,
        "Options",
        required=False,
    ),
    ("/v1/queues/{queue}/leases", "POST"): Operation(
        "jobs",
        "Lease messages as one of several consumers",
        "No other consumer gets them before the lease ends; acknowledge them by then. Messages "
        "with a higher priority come first, then older ones. Waits up to `wait` seconds if there "
        "are none. Takes fewer than `limit` if more would not fit in a response of 4 MiB.",
        (_WAIT,),
        body=ref("Lease"),
        body_required=False,
        status=200,
        answer=ref("Inbox"),
        errors=(400, 408, 410, 413, 415, 429, 503),
    ),
    ("/v1/queues/{queue}/nacks", "POST"): _write(
        "jobs",
        "Return messages",
        "Delivers them again after the delay (without leases: at the end, with a new seq), extends "
        "their lease, or rejects them. Rejected messages go to the dead-letter queue if there is "
        "one. " + _CONFIRMED,
        "Nack",
    ),
    ("/v1/queues/{queue}/purge", "POST"): Operation(
        "queues", "Drop all messages of a queue", _CONFIRMED
    ),
    ("/v1/queues/{queue}", "DELETE"): Operation(
        "queues",
        "Delete a queue",
        "Deletes its messages, bindings, session and options. With `erase` the answer reports "
        "what the logs retain; without it the status is 204. A bind sent at the same time may be "
        "removed too.",
        (Parameter("erase", {"type": "boolean", "default": False}),),
        status=200,
        answer=ref("Erased"),
        empty=True,
    ),
    ("/v1/events", "POST"): Operation(
        "messages",
        "Send many events at once",
        "One JSON object per line: `type` is bind, unbind, message, ack, open, close, touch, "
        "nack, configure, purge or delete; the other fields are those of the paths. One answer "
        "confirms all; if one line is invalid, nothing is sent.",
        body={"type": "string"},
        body_type=NDJSON,
        body_required=False,
        status=200,
        answer=ref("Events"),
        errors=_WRITES,
    ),
    ("/v1/stream", "GET"): Operation(
        "queues",
        "Open a stream: a WebSocket for many queues",
        "Frames are JSON objects with a `type` and an optional `ref`, which the reply repeats.\n\n"
        "The client sends `subscribe` (`queue`; `after`: a seq; `credit`: how many messages the "
        "worker may send; `lease`, `visibility_seconds` and `consumer` to compete with other "
        "consumers), `credit` (`queue`, `more`), `unsubscribe` (`queue`), "
        "`ack` (`queue`, `upto` or `seqs`), `publish` (`group` or `queue`, and the fields of a "
        "Draft), the events of `/v1/events`, and `ping`.\n\n"
        "The worker sends `subscribed`, `message` (`queue`, and the fields of a Delivery), "
        "`unsubscribed`, `acked`, `published`, `confirmed`, `moved` (`queue`, `owner`: another "
        "worker serves it now, no action needed), `unavailable` (`queue`, `retry_after`: no worker "
        "serves it at the moment; the stream continues by itself), `deleted` (`queue`: it was "
        "deleted with its bindings, and the subscription has ended), `pong` and "
        "`error` (`code`, `message`).\n\n"
        "A client may send a JSON array of frames; with `batch=1` the worker sends arrays only.",
        (
            Parameter(
                "batch",
                {"type": "integer", "minimum": 0, "maximum": 1, "default": 0},
                "1 to receive arrays of frames.",
            ),
        ),
        status=101,
        errors=(400, 403, 426, 503),
    ),
    ("/v1/tables/{table}/{partition}/rows", "GET"): Operation(
        "operation",
        "Read raw rows of a table partition",
        "For `streams verify`; keys and values are unpadded base64url, and their layout may "
        "change with any version.",
        (
            Parameter("after", {"type": "string", "pattern": "^[A-Za-z0-9_-]{0,2000}$"}),
            _limit(1000, 10_000),
        ),
        status=200,
        answer=ref("Rows"),
        errors=(400, 404, 503),
        internal=True,
    ),
    ("/v1/groups/{group}/marks/{queue}", "POST"): Operation(
        "operation",
        "Mark the log of a queue",
        "For AMQP clients: returns an offset of `queue-events` behind everything that the group's "
        "partition has sent to the queue so far.",
        (),
        status=200,
        answer=ref("Mark"),
        errors=(400, 503),
        internal=True,
    ),
    ("/v1/amqp/connections/{connection}", "GET"): Operation(
        "operation",
        "Tell whether an AMQP connection lives at this worker",
        "For the other workers, before they give its exclusive queues to another client.",
        (),
        status=200,
        answer=ref("Connection"),
        errors=(400, 503),
        internal=True,
    ),
    ("/v1/exchanges/{exchange}/bindings/{partition}", "GET"): Operation(
        "operation",
        "List some bindings of an exchange in one partition of the groups",
        "For AMQP clients that delete an exchange: at most 1,000, of any routing key.",
        (),
        status=200,
        answer=ref("BindingsOfExchange"),
        errors=(400, 404, 503),
        internal=True,
    ),
    ("/v1/cluster", "GET"): Operation(
        "operation",
        "Show partitions, owners, lag and recovery",
        "As this worker sees it, with state and positions of its own partitions. With `all=1` it "
        "asks the other workers: `workers` shows the state of each, and which ones do not answer.",
        (
            Parameter(
                "all",
                {"type": "integer", "minimum": 0, "maximum": 1, "default": 0},
                "1 to include all workers.",
            ),
            Parameter(
                "debug",
                {"type": "integer", "minimum": 0, "maximum": 1, "default": 0},
                "1 to add what the parts and threads of this worker are doing, for people who "
                "look for a stall; its fields may change in any version. Excludes `all`.",
            ),
        ),
        status=200,
        answer=ref("Cluster"),
        errors=(400,),
    ),
    ("/v1/openapi.json", "GET"): Operation(
        "operation",
        "Return this document",
        status=200,
        answer={"type": "object"},
        errors=(400,),
    ),
    ("/healthz", "GET"): Operation(
        "operation",
        "Tell whether the process is alive",
        status=200,
        answer=ref("Status"),
        errors=(),
    ),
    ("/readyz", "GET"): Operation(
        "operation",
        "Tell whether this worker can answer all reads",
        status=200,
        answer=ref("Status"),
        errors=(503,),
    ),
    ("/metrics", "GET"): Operation(
        "operation",
        "Return metrics for Prometheus",
        status=200,
        answer={"type": "string"},
        answer_type=PLAIN,
        errors=(),
    ),
}

FOR_BROWSERS = ("/", "/page/{file}")
"""Paths that are no part of the interface for programs."""

PATH_PARAMETERS: dict[str, Schema] = {
    "group": ref("Id"),
    "queue": ref("Id"),
    "session": ref("Id"),
    "pattern": ref("Pattern"),
    "exchange": ref("Id"),
    "connection": ref("Id"),
    "table": {"type": "string", "enum": ["members", "queues"]},
    "partition": {"type": "integer", "minimum": 0},
}
