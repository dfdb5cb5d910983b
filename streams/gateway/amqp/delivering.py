"""What a consumer is sent, from the JSON of a delivery."""

from __future__ import annotations

import base64
from typing import Any, Final

from streams.folds.deaths import DEATHS
from streams.folds.patterns import MAX_KEY_BYTES, ROUTING_KEY
from streams.gateway.amqp import deaths, properties
from streams.gateway.amqp.names import DEFAULT, DIRECT_EXCHANGE, exchange_of
from streams.gateway.amqp.properties import Envelope
from streams.ids import direct_queue

DELIVERY_COUNT: Final = "x-delivery-count"
DEAD_LETTER: Final = "dead-letter-"
"""Headers that a dead letter has begin so."""


def unpacked(content: dict[str, Any]) -> tuple[Envelope, bytes, bool]:
    """Return the envelope and the body of a delivery, and whether it was delivered before."""
    text = content.get("body")
    body = base64.b64decode(content["body_base64"]) if text is None else text.encode()
    headers = content.get("headers", {})
    envelope = (
        properties.unpack(headers[properties.HEADER]) if properties.HEADER in headers else None
    )
    tries = content.get("tries", 1)
    added: dict[str, Any] = {DELIVERY_COUNT: tries - 1} if tries > 1 else {}
    if envelope is None:
        envelope = _of_group(content)
        own = deaths.Source(envelope.exchange, envelope.routing_key)
    else:  # what its sender wrote; Streams has added the reason of a death since
        own = deaths.Source(envelope.exchange, envelope.routing_key)
        added |= {
            name: headers[name]
            for name in headers
            if name.startswith(DEAD_LETTER) and name != DEATHS
        }
        if DEATHS in headers:  # it came by another exchange than its sender's
            exchange, key = deaths.source(content["group"], own.routing_key)
            envelope = envelope._replace(exchange=exchange, routing_key=key)
    if added or DEATHS in headers:
        read = properties.read(envelope.properties)
        died = deaths.headers(content, own, read.texts.get("expiration"))
        if died:
            read = read.without_expiration()
        envelope = envelope._replace(properties=read.with_headers(added, died))
    return envelope, body, tries > 1


def _of_group(content: dict[str, Any]) -> Envelope:
    """Make the envelope of a message that no AMQP client sent."""
    group = content["group"]
    queue = direct_queue(group)
    exchange, key = (DIRECT_EXCHANGE, group) if queue is None else (DEFAULT, queue)
    routing_key = content.get("headers", {}).get(ROUTING_KEY)
    if routing_key is not None and queue is None and len(routing_key.encode()) <= MAX_KEY_BYTES:
        of_group, end = exchange_of(group)
        if end is None:  # a topic exchange
            exchange, key = of_group, routing_key
    return Envelope(exchange, key, properties.of_other_door(content))
