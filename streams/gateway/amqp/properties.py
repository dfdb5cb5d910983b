"""The properties of messages: kept as raw bytes, with a look at the few that Streams uses.

Properties come out as they went in, byte for byte.  They travel with the exchange and the
routing key in one header of the message, `amqp`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final, NamedTuple

from pamqp import decode, encode

from streams.errors import TooLarge
from streams.events.limits import MAX_MESSAGE_HEADERS
from streams.gateway.amqp.errors import SYNTAX_ERROR, AMQPError
from streams.gateway.amqp.tables import end_of_table

HEADER: Final = "amqp"
"""The header of a message that holds what AMQP said of it."""
_VERSION: Final = b"\x01"
_PERSISTENT: Final = 2

_TEXTS: Final = {
    15: "content_type",
    14: "content_encoding",
    10: "correlation_id",
    9: "reply_to",
    8: "expiration",
    7: "message_id",
    5: "type",
    4: "user_id",
    3: "app_id",
    2: "cluster_id",
}
"""Properties that are short strings, by the bit of their flag."""
_OCTETS: Final = {12: "delivery_mode", 11: "priority"}
_HEADERS: Final = 13
_TIMESTAMP: Final = 6
_EXPIRATION: Final = 8
_flags = Struct(">H")


@dataclass(slots=True)
class Properties:
    """The properties of one message."""

    raw: bytes
    """Flags and values, as in a content header frame."""
    texts: dict[str, str] = field(default_factory=dict)
    priority: int | None = None
    headers_at: int = 2
    """Where the table of headers begins in `raw`, or would begin."""
    headers_end: int | None = None
    """Where it ends; None without one."""

    expiration: tuple[int, int] | None = None
    """Where the property `expiration` is in `raw`; None without one."""

    def without_expiration(self) -> Properties:
        """Return the properties without `expiration`: a dead letter does not expire again."""
        if self.expiration is None:
            return self
        start, end = self.expiration
        flags = _flags.unpack_from(self.raw)[0] & ~(1 << _EXPIRATION)
        return read(_flags.pack(flags) + self.raw[2:start] + self.raw[end:])

    @property
    def headers(self) -> dict[str, Any]:
        """The decoded table of headers."""
        if self.headers_end is None:
            return {}
        return dict(decode.field_table(self.raw[self.headers_at : self.headers_end])[1])

    def with_headers(self, more: dict[str, Any], encoded: Mapping[str, bytes]) -> bytes:
        """Return the properties with more headers, some of them encoded; the others unchanged.

        Of two with the same name, the new one counts: then the others are encoded again.
        """
        raw, at = self.raw, self.headers_at
        added = encode.field_table(more)[4:] + b"".join(
            bytes((len(name),)) + name.encode() + value for name, value in encoded.items()
        )
        old_headers = self.headers
        if any(name in old_headers for name in (*more, *encoded)):
            kept = {
                name: value
                for name, value in old_headers.items()
                if name not in more and name not in encoded
            }
            added = encode.field_table(kept)[4:] + added
            table = len(added).to_bytes(4, "big") + added
            return raw[:at] + table + raw[self.headers_end :]
        if self.headers_end is None:
            flags = _flags.unpack_from(raw)[0] | 1 << _HEADERS
            table = len(added).to_bytes(4, "big") + added
            return _flags.pack(flags) + raw[2:at] + table + raw[at:]
        old = raw[at + 4 : self.headers_end]
        table = (len(old) + len(added)).to_bytes(4, "big") + old + added
        return raw[:at] + table + raw[self.headers_end :]


def read(raw: bytes) -> Properties:
    """Check raw properties, and read what Streams uses.

    Raises:
        AMQPError: 502, they are malformed.
    """
    if len(raw) < 2:
        raise _malformed()
    found = Properties(raw)
    flags = _flags.unpack_from(raw)[0]
    if flags & 0b11:
        raise AMQPError(SYNTAX_ERROR, "unknown flags of properties")
    at = 2
    for bit in range(15, 1, -1):
        if bit == _HEADERS:
            found.headers_at = at
        if not flags & 1 << bit:
            continue
        if bit in _TEXTS:
            if at >= len(raw):
                raise _malformed()
            end = at + 1 + raw[at]
            found.texts[_TEXTS[bit]] = _text(raw[at + 1 : end])
            if bit == _EXPIRATION:
                found.expiration = at, end
            at = end
        elif bit == _HEADERS:
            at = found.headers_end = end_of_table(raw, at)
        elif bit == _TIMESTAMP:
            at += 8
        else:
            if bit in _OCTETS and _OCTETS[bit] == "priority" and at < len(raw):
                found.priority = raw[at]
            at += 1
        if at > len(raw):
            raise _malformed()
    if at != len(raw):
        raise _malformed()
    return found


class Envelope(NamedTuple):
    """What AMQP said of a message."""

    exchange: str
    routing_key: str
    properties: bytes


def pack(envelope: Envelope) -> str:
    """Return the value of the header `amqp`.

    Raises:
        TooLarge: it is longer than the headers of a message may be.
    """
    exchange, key = envelope.exchange.encode(), envelope.routing_key.encode()
    parts = (_VERSION, bytes((len(exchange),)), exchange, bytes((len(key),)), key)
    value = base64.b64encode(b"".join(parts) + envelope.properties).decode()
    if len(value) + len(HEADER) > MAX_MESSAGE_HEADERS:
        raise TooLarge(
            f"properties and routing key of {len(envelope.properties) + len(key)} bytes are over "
            f"the limit of about {MAX_MESSAGE_HEADERS * 3 // 4}"
        )
    return value


def unpack(value: str) -> Envelope | None:
    """Return what a header `amqp` holds; None if no door of this version wrote it."""
    try:
        data = base64.b64decode(value, validate=True)
        if data[:1] != _VERSION:
            return None
        end = 2 + data[1]
        exchange = data[2:end].decode()
        after = end + 1 + data[end]
        key = data[end + 1 : after].decode()
        read(data[after:])
    except (binascii.Error, IndexError, UnicodeDecodeError, AMQPError, ValueError):
        return None  # a client of another door wrote a header of that name
    return Envelope(exchange, key, data[after:])


def of_other_door(message: dict[str, Any]) -> bytes:
    """Return properties for a message that no AMQP client sent, given its JSON."""
    headers = {name: text for name, text in message.get("headers", {}).items() if _is_short(name)}
    texts = {7: message["id"], 5: message.get("kind", "")}
    flags, values = 0, []
    for bit in range(15, 1, -1):
        if bit == _HEADERS and headers:
            values.append(encode.field_table(headers))
        elif bit == 12:
            values.append(bytes((_PERSISTENT,)))
        elif bit == 11 and "priority" in message:
            values.append(bytes((message["priority"],)))
        elif bit == _TIMESTAMP:
            values.append((message["at"] // 1000).to_bytes(8, "big"))
        elif texts.get(bit):
            encoded = texts[bit].encode()
            values.append(bytes((len(encoded),)) + encoded)
        else:
            continue
        flags |= 1 << bit
    return _flags.pack(flags) + b"".join(values)


def _is_short(name: str) -> bool:
    return len(name.encode()) < 128  # as long as every client allows


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")  # only looked at; the raw bytes are what is delivered


def _malformed() -> AMQPError:
    return AMQPError(SYNTAX_ERROR, "properties are malformed")
