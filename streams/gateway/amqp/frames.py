"""Frames: cuts what a client sent into frames, decodes methods, and encodes what it is sent.

The frequent ones (publish, ack, deliver) by hand, the others by pamqp.  Sizes and the depth of
tables are checked before anything is decoded.  Pure; knows nothing of connections.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, TypeAlias

from pamqp import base, commands
from pamqp.exceptions import PAMQPException

from streams.gateway.amqp.errors import (
    FRAME_ERROR,
    NOT_IMPLEMENTED,
    SYNTAX_ERROR,
    AMQPError,
)
from streams.gateway.amqp.tables import end_of_table

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
_END: Final = 0xCE
_END_BYTE: Final = b"\xce"
OVERHEAD: Final = 8
"""Bytes of a frame beside its payload."""
HEARTBEAT_FRAME: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
BASIC: Final = 60

_head = struct.Struct(">BHI")
_content_head = struct.Struct(">HHQ")
_deliver_method = b"\x00\x3c\x00\x3c"
_get_ok_method = b"\x00\x3c\x00\x47"
_return_method = b"\x00\x3c\x00\x32"
_PUBLISH: Final = b"\x00\x3c\x00\x28"
_ACK: Final = b"\x00\x3c\x00\x50"
_SIZES: Final = {"octet": 1, "short": 2, "long": 4, "longlong": 8, "timestamp": 8}
_MALFORMED: Final = (
    PAMQPException,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
)
"""What decoding a malformed method may raise; the check before it lets little through."""


class Frame(NamedTuple):
    """One frame."""

    kind: int
    channel: int
    payload: bytes


class Publish(NamedTuple):
    """The method basic.publish."""

    exchange: str
    routing_key: str
    mandatory: bool
    immediate: bool


class Ack(NamedTuple):
    """The method basic.ack of a client."""

    delivery_tag: int
    multiple: bool


Method: TypeAlias = base.Frame | Publish | Ack


class FrameReader:
    """Cuts bytes into frames."""

    def __init__(self, frame_max: int) -> None:
        self.frame_max = frame_max
        """Longest frame in bytes; may be changed between two calls of `feed`."""
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take more bytes, and return the frames that are complete.

        Raises:
            AMQPError: 501, a frame is too long, of an unknown type, or does not end as it must.
        """
        held = self._data
        held += data
        found: list[Frame] = []
        at, size = 0, len(held)
        while size - at >= OVERHEAD - 1:
            kind, channel, length = _head.unpack_from(held, at)
            if length > self.frame_max - OVERHEAD:
                raise AMQPError(
                    FRAME_ERROR,
                    f"a frame of {length + OVERHEAD} bytes is over the limit of {self.frame_max}",
                )
            end = at + OVERHEAD - 1 + length
            if end >= size:
                break
            if held[end] != _END:
                raise AMQPError(FRAME_ERROR, "a frame does not end with the octet 0xCE")
            if kind not in (METHOD, HEADER, BODY, HEARTBEAT):
                raise AMQPError(FRAME_ERROR, f"unknown type of frame {kind}")
            found.append(Frame(kind, channel, bytes(memoryview(held)[end - length : end])))
            at = end + 1
        del held[:at]
        return found


def decode(payload: bytes) -> Method:
    """Decode the payload of a method frame.

    Raises:
        AMQPError: 502 if it is malformed, 540 if there is no such method.
    """
    index = payload[:4]
    try:
        if index == _PUBLISH:
            return _publish(payload)
        if index == _ACK:
            if len(payload) != 13:
                raise AMQPError(SYNTAX_ERROR, "basic.ack is malformed")
            return Ack(int.from_bytes(payload[4:12], "big"), bool(payload[12] & 1))
        if len(index) < 4:
            raise AMQPError(SYNTAX_ERROR, "a method is malformed")
        kind = commands.INDEX_MAPPING.get(int.from_bytes(index, "big"))
        if kind is None:
            class_id, method_id = struct.unpack(">HH", index)
            raise AMQPError(
                NOT_IMPLEMENTED, f"there is no method {method_id} of class {class_id}", hard=True
            )
        _check_arguments(kind, payload)
        method: base.Frame = kind()
        method.unmarshal(payload[4:])
        return method
    except _MALFORMED as error:
        raise AMQPError(SYNTAX_ERROR, f"a method is malformed: {type(error).__name__}") from None


def _publish(payload: bytes) -> Publish:
    at = 7 + payload[6]  # after the reserved short
    end = at + 1 + payload[at]
    if end + 1 != len(payload):
        raise AMQPError(SYNTAX_ERROR, "basic.publish is malformed")
    bits = payload[end]
    return Publish(
        payload[7:at].decode(), payload[at + 1 : end].decode(), bool(bits & 1), bool(bits & 2)
    )


def _check_arguments(kind: type[base.Frame], payload: bytes) -> None:
    """Check that the arguments of a method fill its payload, and that tables are well formed."""
    at, bits = 4, 0
    for name in kind.attributes():
        type_ = kind.amqp_type(name)
        if type_ == "bit":
            at += not bits % 8
            bits += 1
            continue
        bits = 0
        if type_ == "table":
            at = end_of_table(payload, at)
        elif type_ == "shortstr":
            at += 1 + payload[at]
        elif type_ == "longstr":
            if at + 4 > len(payload):
                raise AMQPError(SYNTAX_ERROR, f"{kind.__name__} is malformed")
            at += 4 + int.from_bytes(payload[at : at + 4], "big")
        else:
            at += _SIZES[type_]
    if at != len(payload):
        raise AMQPError(SYNTAX_ERROR, f"{kind.__name__} is malformed")


class ContentHeader(NamedTuple):
    """A content header: how long the body is, and the raw properties."""

    body_size: int
    properties: bytes


def decode_header(payload: bytes) -> ContentHeader:
    """Decode the payload of a content header frame.

    Raises:
        AMQPError: 502, it is malformed or of another class than basic.
    """
    if len(payload) < _content_head.size + 2:
        raise AMQPError(SYNTAX_ERROR, "a content header is malformed")
    class_id, weight, body_size = _content_head.unpack_from(payload)
    if class_id != BASIC or weight:
        raise AMQPError(SYNTAX_ERROR, "a content header must be of class basic, with weight 0")
    return ContentHeader(body_size, payload[_content_head.size :])


def encode(channel: int, method: base.Frame) -> bytes:
    """Encode a method frame."""
    return _frame(METHOD, channel, struct.pack(">I", method.index) + method.marshal())


def deliver(
    channel: int,
    consumer_tag: bytes,
    delivery_tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
) -> bytes:
    """Encode a basic.deliver; `content` follows."""
    payload = b"%b%b%b%c%b%b" % (
        _deliver_method,
        bytes((len(consumer_tag),)) + consumer_tag,
        delivery_tag.to_bytes(8, "big"),
        redelivered,
        _short(exchange),
        _short(routing_key),
    )
    return _frame(METHOD, channel, payload)


def get_ok(
    channel: int,
    delivery_tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    message_count: int,
) -> bytes:
    """Encode a basic.get-ok; `content` follows."""
    payload = b"%b%b%c%b%b%b" % (
        _get_ok_method,
        delivery_tag.to_bytes(8, "big"),
        redelivered,
        _short(exchange),
        _short(routing_key),
        message_count.to_bytes(4, "big"),
    )
    return _frame(METHOD, channel, payload)


def returned(channel: int, code: int, text: str, exchange: str, routing_key: str) -> bytes:
    """Encode a basic.return; `content` follows."""
    payload = b"%b%b%b%b%b" % (
        _return_method,
        code.to_bytes(2, "big"),
        _short(text),
        _short(exchange),
        _short(routing_key),
    )
    return _frame(METHOD, channel, payload)


def content(channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Encode the header and body frames of a message.

    Properties that do not fit in one frame cannot be sent; the door sends none that long.
    """
    pieces = [_frame(HEADER, channel, _content_head.pack(BASIC, 0, len(body)) + properties)]
    step = frame_max - OVERHEAD
    pieces += (
        _frame(BODY, channel, body[start : start + step]) for start in range(0, len(body), step)
    )
    return b"".join(pieces)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return b"%b%b%b" % (_head.pack(kind, channel, len(payload)), payload, _END_BYTE)


def _short(text: str) -> bytes:
    encoded = text.encode()[:255]
    return bytes((len(encoded),)) + encoded
