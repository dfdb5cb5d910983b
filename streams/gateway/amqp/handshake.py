"""How a connection begins: greeting, login, limits, virtual host.  Pure; sends nothing itself."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pamqp import base, commands

from streams import __version__
from streams.gateway.amqp.errors import (
    ACCESS_REFUSED,
    COMMAND_INVALID,
    NOT_ALLOWED,
    AMQPError,
)

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
HEADER_BYTES: Final = len(PROTOCOL_HEADER)
CHANNEL_MAX: Final = 2047
FRAME_MAX: Final = 131_072
LEAST_FRAME_MAX: Final = 4096
"""Frames that every client must accept, by the standard."""
FRAME_MAX_BEFORE_LOGIN: Final = 16_384
"""Longest frame before the client is known: enough for a login with a long token."""
HEARTBEAT_SECONDS: Final = 60
VIRTUAL_HOST: Final = "/"

SERVER_PROPERTIES: Final[dict[str, Any]] = {
    "product": "Streams",
    "version": __version__,
    "platform": "Kafka",
    "capabilities": {
        "publisher_confirms": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "per_consumer_qos": True,
        "authentication_failure_close": True,
        "connection.blocked": True,
    },
}


class Login(NamedTuple):
    """Who a client says it is."""

    user: str
    password: str


class Handshake:
    """The negotiation of one connection."""

    def __init__(self) -> None:
        self.channel_max = CHANNEL_MAX
        self.frame_max = FRAME_MAX
        self.heartbeat = 0
        """Seconds between heartbeats; 0 for none."""
        self.capabilities: dict[str, Any] = {}
        """What the client says that it understands."""
        self._next: type[base.Frame] | None = commands.Connection.StartOk

    @property
    def done(self) -> bool:
        """Whether the connection is open."""
        return self._next is None

    def start(self) -> base.Frame:
        """Return the method that answers the greeting."""
        return commands.Connection.Start(
            server_properties=SERVER_PROPERTIES, mechanisms="PLAIN", locales="en_US"
        )

    def login(self, method: object) -> Login:
        """Take the login of a client.

        Raises:
            AMQPError: 503 for another method, 403 for another mechanism.
        """
        self._expect(method, commands.Connection.StartOk)
        assert isinstance(method, commands.Connection.StartOk)
        if method.mechanism != "PLAIN":
            raise AMQPError(
                ACCESS_REFUSED, f"there is no mechanism {method.mechanism!r}, only PLAIN", hard=True
            )
        properties = method.client_properties or {}
        capabilities = properties.get("capabilities")
        self.capabilities = capabilities if isinstance(capabilities, dict) else {}
        response: object = method.response  # bytes, if it is not UTF-8
        parts = (response if isinstance(response, bytes) else str(response).encode()).split(b"\0")
        if len(parts) != 3:
            raise AMQPError(ACCESS_REFUSED, "a response of PLAIN is malformed", hard=True)
        self._next = commands.Connection.TuneOk
        return Login(*(part.decode(errors="replace") for part in parts[1:]))

    def tune(self) -> base.Frame:
        """Return the limits that this side proposes."""
        return commands.Connection.Tune(CHANNEL_MAX, FRAME_MAX, HEARTBEAT_SECONDS)

    def tuned(self, method: object) -> None:
        """Take the limits that the client chose.

        Raises:
            AMQPError: 503 for another method, 530 for limits over the proposed ones.
        """
        self._expect(method, commands.Connection.TuneOk)
        assert isinstance(method, commands.Connection.TuneOk)
        channels, frame = method.channel_max or CHANNEL_MAX, method.frame_max or FRAME_MAX
        if channels > CHANNEL_MAX or not LEAST_FRAME_MAX <= frame <= FRAME_MAX:
            raise AMQPError(
                NOT_ALLOWED,
                f"at most {CHANNEL_MAX} channels, and frames of {LEAST_FRAME_MAX} to {FRAME_MAX} "
                "bytes",
            )
        self.channel_max, self.frame_max = channels, frame
        self.heartbeat = method.heartbeat or 0
        self._next = commands.Connection.Open

    def opened(self, method: object) -> base.Frame:
        """Take the virtual host; return the answer.

        Raises:
            AMQPError: 503 for another method, 530 for another virtual host than `/`.
        """
        self._expect(method, commands.Connection.Open)
        assert isinstance(method, commands.Connection.Open)
        if method.virtual_host != VIRTUAL_HOST:
            raise AMQPError(
                NOT_ALLOWED, f"there is no virtual host {method.virtual_host!r}, only '/'"
            )
        self._next = None
        return commands.Connection.OpenOk()

    def _expect(self, method: object, kind: type[base.Frame]) -> None:
        if self._next is not kind or not isinstance(method, kind):
            raise AMQPError(COMMAND_INVALID, "a connection begins with start-ok, tune-ok, open")
