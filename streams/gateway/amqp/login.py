"""How a client gets in: reads its first frames, verifies its token, and agrees on limits."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from pamqp import base, commands

from streams.errors import BadToken, StreamsError
from streams.gateway.amqp import frames
from streams.gateway.amqp.errors import (
    ACCESS_REFUSED,
    COMMAND_INVALID,
    RESOURCE_ERROR,
    AMQPError,
    to_amqp_error,
)
from streams.gateway.amqp.frames import Frame, FrameReader
from streams.gateway.amqp.handshake import (
    FRAME_MAX_BEFORE_LOGIN,
    HEADER_BYTES,
    PROTOCOL_HEADER,
    Handshake,
)
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.auth.principal import Principal

logger = logging.getLogger(__name__)

LOGIN_SECONDS: Final = 10.0
"""How long a client may take until its connection is open."""
REFUSAL_SECONDS: Final = 1.0
"""Pause before a refused login is answered, so that guessing is slow."""
READ_BYTES: Final = 16 * 1024


@dataclass(slots=True)
class Opened:
    """A client that has logged in."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: str
    """Where it comes from, for the log."""
    frames: FrameReader
    waiting: list[Frame]
    """Frames that came with the last one of the login."""
    handshake: Handshake
    principal: Principal
    user: str


async def log_in(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    address: str,
    authenticator: Authenticator,
) -> Opened | None:
    """Log a client in; None if it is refused or gone, which it has been told by then."""
    try:
        async with asyncio.timeout(LOGIN_SECONDS):
            return await _Login(reader, writer, address, authenticator).run()
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return None


class _Login:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
        authenticator: Authenticator,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._address = address
        self._authenticator = authenticator
        self._frames = FrameReader(FRAME_MAX_BEFORE_LOGIN)
        self._waiting: list[Frame] = []
        self._handshake = Handshake()

    async def run(self) -> Opened | None:
        greeting = await self._reader.readexactly(HEADER_BYTES)
        if greeting != PROTOCOL_HEADER:
            # By the standard: answer with the protocol that there is, and close.
            logger.info(
                "the client %s greets with %r, not with AMQP 0-9-1%s",
                self._address,
                greeting,
                "; its library speaks AMQP 1.0" if greeting[4:6] in (b"\0\1", b"\3\1") else "",
            )
            self._writer.write(PROTOCOL_HEADER)
            return None
        handshake = self._handshake
        try:
            self._send(handshake.start())
            login = handshake.login(await self._method())
            principal = await self._principal(login.password)
            self._send(handshake.tune())
            handshake.tuned(await self._method())
            self._frames.frame_max = handshake.frame_max
            self._send(handshake.opened(await self._method()))
        except StreamsError as error:
            await self._refuse(to_amqp_error(error))
            return None
        return Opened(
            self._reader,
            self._writer,
            self._address,
            self._frames,
            self._waiting,
            handshake,
            principal,
            login.user,
        )

    async def _principal(self, token: str) -> Principal:
        try:
            principal = await self._authenticator.verify(token)
        except BadToken as error:
            raise AMQPError(
                ACCESS_REFUSED, f"the token is the password: {error}", hard=True
            ) from error
        wait = self._authenticator.pause(principal)
        if wait:
            raise AMQPError(RESOURCE_ERROR, f"this token is over its rate limit for {wait:.0f} s")
        return principal

    async def _method(self) -> object:
        while not self._waiting:
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise ConnectionResetError("the client has left")
            self._waiting = self._frames.feed(data)
        frame = self._waiting.pop(0)
        if frame.kind == frames.HEARTBEAT:
            return await self._method()
        if frame.kind != frames.METHOD or frame.channel:
            raise AMQPError(COMMAND_INVALID, "a connection begins with methods on channel 0")
        return frames.decode(frame.payload)

    def _send(self, method: base.Frame) -> None:
        self._writer.write(frames.encode(0, method))

    async def _refuse(self, error: AMQPError) -> None:
        """Tell a client why it may not enter, if it can understand that."""
        logger.info("refused the AMQP client %s: %s", self._address, error.reply_text)
        if error.code == ACCESS_REFUSED:
            await asyncio.sleep(REFUSAL_SECONDS)
            if not self._handshake.capabilities.get("authentication_failure_close"):
                return  # older clients take a closed connection for a refused login
        self._send(commands.Connection.Close(error.code, error.reply_text, 0, 0))
        await self._writer.drain()
