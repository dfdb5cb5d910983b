"""The frames of a stream: parses those of clients, and makes those for clients.

Pure functions; knows nothing of connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from streams.errors import StreamsError, Unavailable
from streams.events.limits import MAX_LEASE_VISIBILITY_MS
from streams.gateway.http import fields as f
from streams.gateway.http.errors import bad_request, to_http_error
from streams.gateway.writes.request_fields import take_all

MAX_CREDIT = 1_000_000
MAX_REF_LENGTH = 255
MAX_SEQS = 10_000
"""Most seqs in one ack."""

Ref: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a client: its type, its ref, and the other fields, not yet checked."""

    type: str
    ref: Ref
    fields: f.Fields


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms on which a competing consumer receives messages."""

    consumer: str
    """Id of the consumer; empty if the client leaves it to the worker."""
    visibility_ms: int | None
    """Duration of its leases; None for the duration in the queue's options."""

    def fields(self) -> f.Fields:
        """Return the fields of a subscribe that state these terms."""
        seconds = None if self.visibility_ms is None else self.visibility_ms / 1000
        return {"lease": True, "consumer": self.consumer, "visibility_seconds": seconds}


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A request to receive what is in a queue and what arrives later."""

    queue: str
    after: int
    credit: int | None
    """Messages that may be sent until the client grants more; None for no limit."""
    read_after: int
    """Offset of the source topic that the rows should be past, if they soon are."""
    terms: Terms | None = None
    """Terms of a competing consumer; None for a subscriber that receives everything."""


def read_all(text: str) -> list[Any]:
    """Parse one WebSocket message of a client: a frame, or an array of frames.

    Raises:
        HTTPError: 400 if it is not JSON, or an empty array.
    """
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise bad_request("bad_json", f"not JSON: {error}") from None
    if content == []:
        raise bad_request("bad_json", "the array of frames is empty")
    return content if isinstance(content, list) else [content]


def read(content: Any) -> Frame:
    """Split a frame into its type, ref and other fields.

    Raises:
        HTTPError: 400 if it is not a JSON object with a type.
    """
    if not isinstance(content, dict):
        raise bad_request("bad_json", "must be a JSON object")
    ref = content.pop("ref", None)
    if isinstance(ref, bool) or not (ref is None or isinstance(ref, (str, int))):
        raise bad_request("bad_field", "ref must be a string or an integer")
    if isinstance(ref, str) and len(ref) > MAX_REF_LENGTH:
        raise bad_request("bad_field", f"ref is longer than {MAX_REF_LENGTH} characters")
    kind = content.pop("type", None)
    if not isinstance(kind, str):
        raise bad_request("bad_field", "type is missing, or not a string")
    return Frame(kind, ref, content)


def subscribe(content: f.Fields) -> Subscribe:
    """Take the fields of a subscribe.

    Raises:
        HTTPError: 400 if a field is wrong, missing or unknown.
    """
    queue = f.take_id(content, "queue")
    after = f.take_optional_integer(content, "after") or 0
    credit = f.take_optional_integer(content, "credit", 0, MAX_CREDIT)
    read_after = f.take_optional_integer(content, "read_after")
    terms = _terms(content)
    f.refuse_rest(content)
    if terms is not None and credit is None:
        raise bad_request(
            "bad_field", "lease needs credit: the number of messages that may be leased at a time"
        )
    if terms is not None and after:
        raise bad_request(
            "bad_field", "lease and after exclude each other: a lease takes what nobody else has"
        )
    return Subscribe(queue, after, credit, -1 if read_after is None else read_after, terms)


def _terms(content: f.Fields) -> Terms | None:
    lease = f.take_flag(content, "lease", False)
    visibility_ms = f.take_optional_seconds(content, "visibility_seconds", MAX_LEASE_VISIBILITY_MS)
    consumer = f.take_optional_id(content, "consumer")
    if lease:
        return Terms(consumer or "", visibility_ms)
    if visibility_ms is not None or consumer is not None:
        raise bad_request("bad_field", "visibility_seconds and consumer need lease")
    return None


def credit(content: f.Fields) -> tuple[str, int]:
    """Take the fields of a credit: the queue, and the number of additional messages.

    Raises:
        HTTPError: 400 if a field is wrong, missing or unknown.
    """
    queue = f.take_id(content, "queue")
    if "more" not in content:
        raise bad_request("bad_field", "more is missing")
    more = f.integer_of("more", content.pop("more"), 0, MAX_CREDIT)
    f.refuse_rest(content)
    return queue, more


def auth(content: f.Fields) -> str:
    """Take the token of an auth.

    Raises:
        HTTPError: 400 if it is wrong or missing, or there is another field.
    """
    token = content.pop("token", None)
    if not isinstance(token, str) or not token.isascii():
        raise bad_request("bad_field", "token is missing or malformed")
    f.refuse_rest(content)
    return token


def unsubscribe(content: f.Fields) -> str:
    """Take the queue of an unsubscribe.

    Raises:
        HTTPError: 400 if it is wrong or missing, or there is another field.
    """
    queue = f.take_id(content, "queue")
    f.refuse_rest(content)
    return queue


def ack(content: f.Fields) -> tuple[str, int | None, tuple[int, ...]]:
    """Take the fields of an ack: the queue, `upto` and `seqs`.

    Raises:
        HTTPError: 400 if a field is wrong, missing or unknown.
    """
    queue = f.take_id(content, "queue")
    values = take_all("Ack", content)
    seqs = values.get("seqs", ())
    if len(seqs) > MAX_SEQS:
        raise bad_request("bad_field", f"seqs must have at most {MAX_SEQS} items")
    return queue, values.get("upto"), seqs


def frame(kind: str, ref: Ref = None, /, **fields: Any) -> bytes:
    """Make a frame for a client; it has no ref if `ref` is None."""
    content = {"type": kind, **fields}
    if ref is not None:
        content["ref"] = ref
    # A copy: what orjson returns keeps a buffer of some KiB, and frames wait for slow clients.
    return bytes(memoryview(orjson.dumps(content)))


def message_prefix(queue: str) -> bytes:
    """Return the start of every message frame of a queue; its members and } follow."""
    return b'{"type":"message","queue":%b,' % orjson.dumps(queue)


def error_frame(error: StreamsError, ref: Ref = None, /, **fields: Any) -> bytes:
    """Make the frame that tells a client of an error."""
    refusal = to_http_error(error)
    if isinstance(error, Unavailable):
        fields["retry_after"] = error.retry_after
    elif "Retry-After" in refusal.headers:
        fields["retry_after"] = float(refusal.headers["Retry-After"])
    return frame("error", ref, code=refusal.code, message=str(refusal), **fields)
