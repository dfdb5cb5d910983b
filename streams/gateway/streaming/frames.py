"""What is said on a stream: frames of clients taken apart, frames for them put together.

Pure; knows nothing of connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from streams.errors import StreamsError, Unavailable
from streams.folds.options import MAX_VISIBILITY_MS
from streams.gateway.http import fields as f
from streams.gateway.http.errors import bad_request, to_http_error

MAX_CREDIT = 1_000_000
MAX_REF_LENGTH = 255
MAX_SEQS = 10_000
"""Seqs in one ack."""

Ref: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True)
class Frame:
    """What a client said: its type, its ref, and the other fields, not yet looked at."""

    type: str
    ref: Ref
    fields: f.Fields


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a competing consumer is sent messages."""

    consumer: str
    """Who has them then; empty when the client left that to the worker."""
    visibility_ms: int | None
    """How long it has them; None for what the queue's options say."""

    def fields(self) -> f.Fields:
        """Return the fields of a subscribe that say so."""
        seconds = None if self.visibility_ms is None else self.visibility_ms / 1000
        return {"lease": True, "consumer": self.consumer, "visibility_seconds": seconds}


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A wish to be sent what is in a queue, and what comes into it."""

    queue: str
    after: int
    credit: int | None
    """How many messages may be sent until more credit is given; None: as many as there are."""
    read_after: int
    """Offset of the source topic that the rows should be beyond, if that is soon."""
    terms: Terms | None = None
    """Of a competing consumer; None for who is sent all."""


def read_all(text: str) -> list[Any]:
    """Return what a client said in one WebSocket message: a frame, or an array of some.

    Raises:
        HTTPError: 400, it is no JSON, or an array of none.
    """
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise bad_request("bad_json", f"not JSON: {error}") from None
    if content == []:
        raise bad_request("bad_json", "an array must have frames in it")
    return content if isinstance(content, list) else [content]


def read(content: Any) -> Frame:
    """Take a client's frame apart.

    Raises:
        HTTPError: 400, it is no JSON object with a type.
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
        raise bad_request("bad_field", "type is missing, or no string")
    return Frame(kind, ref, content)


def subscribe(content: f.Fields) -> Subscribe:
    """Take the fields of a subscribe.

    Raises:
        HTTPError: 400, a field is wrong, missing or unknown.
    """
    queue = f.take_id(content, "queue")
    after = f.take_optional_long(content, "after") or 0
    credit = f.take_optional_long(content, "credit")
    if credit is not None:
        _check_credit("credit", credit)
    read_after = f.take_optional_long(content, "read_after")
    terms = _terms(content)
    f.refuse_rest(content)
    if terms is not None and credit is None:
        raise bad_request(
            "bad_field", "with lease, say by credit how many messages may be had at a time"
        )
    if terms is not None and after:
        raise bad_request("bad_field", "with lease there is no after: what nobody has is sent")
    return Subscribe(queue, after, credit, -1 if read_after is None else read_after, terms)


def _terms(content: f.Fields) -> Terms | None:
    lease = f.take_flag(content, "lease", False)
    visibility_ms = f.take_optional_seconds(content, "visibility_seconds", MAX_VISIBILITY_MS)
    consumer = f.take_optional_id(content, "consumer")
    if lease:
        return Terms(consumer or "", visibility_ms)
    if visibility_ms is not None or consumer is not None:
        raise bad_request("bad_field", "visibility_seconds and consumer go with lease")
    return None


def credit(content: f.Fields) -> tuple[str, int]:
    """Take the fields of a credit: the queue, and how many messages more.

    Raises:
        HTTPError: 400, a field is wrong, missing or unknown.
    """
    queue = f.take_id(content, "queue")
    if "more" not in content:
        raise bad_request("bad_field", "more is missing")
    more = f.long_of("more", content.pop("more"))
    _check_credit("more", more)
    f.refuse_rest(content)
    return queue, more


def auth(content: f.Fields) -> str:
    """Take the field of an auth, the token.

    Raises:
        HTTPError: 400, it is wrong or missing, or another field is there.
    """
    token = content.pop("token", None)
    if not isinstance(token, str) or not token.isascii():
        raise bad_request("bad_field", "token is missing, or no token")
    f.refuse_rest(content)
    return token


def unsubscribe(content: f.Fields) -> str:
    """Take the field of an unsubscribe, the queue.

    Raises:
        HTTPError: 400, it is wrong or missing, or another field is there.
    """
    queue = f.take_id(content, "queue")
    f.refuse_rest(content)
    return queue


def ack(content: f.Fields) -> tuple[str, int | None, list[int]]:
    """Take the fields of an ack: the queue, upto which seq, and single seqs.

    Raises:
        HTTPError: 400, a field is wrong, missing or unknown.
    """
    queue = f.take_id(content, "queue")
    upto = f.take_optional_long(content, "upto")
    seqs = f.take_longs(content, "seqs")
    f.refuse_rest(content)
    if (upto is None) == (not seqs):
        raise bad_request("bad_field", "give either upto (a seq) or seqs (a list of seqs)")
    if len(seqs) > MAX_SEQS:
        raise bad_request("bad_field", f"more than {MAX_SEQS} seqs")
    return queue, upto, seqs


def frame(kind: str, ref: Ref = None, /, **fields: Any) -> bytes:
    """Put a frame for a client together; a ref that is None is left out."""
    content = {"type": kind, **fields}
    if ref is not None:
        content["ref"] = ref
    return orjson.dumps(content)


def message_prefix(queue: str) -> bytes:
    """Return how the frame of each message of a queue begins; its members and } follow."""
    return b'{"type":"message","queue":%b,' % orjson.dumps(queue)


def error_frame(error: StreamsError, ref: Ref = None, /, **fields: Any) -> bytes:
    """Put together what tells a client of an error."""
    refusal = to_http_error(error)
    if isinstance(error, Unavailable):
        fields["retry_after"] = error.retry_after
    elif "Retry-After" in refusal.headers:
        fields["retry_after"] = float(refusal.headers["Retry-After"])
    return frame("error", ref, code=refusal.code, message=str(refusal), **fields)


def _check_credit(name: str, value: int) -> None:
    if value > MAX_CREDIT:
        raise bad_request("bad_field", f"{name} is over the limit of {MAX_CREDIT}")
