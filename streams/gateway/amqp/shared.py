"""What all AMQP connections of one worker share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from streams.gateway.amqp.exchanges import Exchanges
from streams.gateway.amqp.feed import Feed, Outlet
from streams.gateway.amqp.holders import Holders
from streams.gateway.amqp.metrics import AMQPMetrics
from streams.gateway.amqp.questions import Questions
from streams.gateway.amqp.registry import Registry
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.auth.principal import Principal
from streams.gateway.cluster.proxy import Proxy
from streams.gateway.streaming.service import Streaming
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Shared:
    """The parts of the worker that connections use."""

    settings: Settings
    authenticator: Authenticator
    streaming: Streaming
    proxy: Proxy
    registry: Registry
    exchanges: Exchanges
    holders: Holders
    metrics: AMQPMetrics

    def feed(self, principal: Principal, outlet: Outlet, to_write: asyncio.Event) -> Feed:
        """Return what feeds the consumers of a connection."""
        return Feed(self.streaming, principal, outlet, to_write)

    def questions(self, principal: Principal) -> Questions:
        """Return what asks for the state of queues."""
        questions = Questions(self.proxy)
        questions.token = principal.token
        return questions
