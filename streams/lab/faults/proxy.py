"""A TCP proxy between a worker and a broker that can be made slow, lossy or dead.

It has its own thread and event loop, so the rest of the suite cannot block it.  TCP hides lost
packets, so loss is simulated as clients see it: pauses, and connections that break within a
record.
"""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass

PIECE = 16 * 1024


@dataclass(slots=True)
class LinkConditions:
    """The present condition of the connection."""

    delay: float = 0.0
    """Mean delay of each piece in seconds, in each direction; random up to twice that."""
    bytes_per_second: float = 0.0
    """0: unlimited."""
    break_chance: float = 0.0
    """Chance, per piece, that the connection breaks."""
    dead: bool = False
    """Nothing passes, and connections stay open."""


class TcpProxy:
    """Forwards `port` to `target`, both on the loopback address."""

    def __init__(self, port: int, target: int, seed: int) -> None:
        self.port = port
        self.weather = LinkConditions()
        self._target = target
        self._rng = random.Random(f"link {port} {seed}")
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._listening = threading.Event()

    @property
    def started(self) -> bool:
        """Whether it accepts connections."""
        return self._listening.is_set()

    def start(self) -> None:
        """Listen; return once connections are accepted."""
        self._thread.start()
        self._listening.wait(10)

    def close(self) -> None:
        """Break all connections and stop."""
        self._listening.clear()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", self.port)
        )
        self._listening.set()
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._pass_on(reader, far_writer, writer), self._pass_on(far_reader, writer, far_writer)
        )

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
    ) -> None:
        try:
            while piece := await reader.read(PIECE):
                weather = self.weather
                while weather.dead:
                    await asyncio.sleep(0.05)
                    weather = self.weather
                if weather.delay:
                    await asyncio.sleep(weather.delay * self._rng.uniform(0, 2))
                if weather.bytes_per_second:
                    await asyncio.sleep(len(piece) / weather.bytes_per_second)
                if weather.break_chance and self._rng.random() < weather.break_chance:
                    writer.write(piece[: len(piece) // 2])
                    break
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            back.close()
