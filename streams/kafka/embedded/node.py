"""One Kafka node as a child process: its properties, start and stop.

A node is broker and controller at once (KRaft's combined mode).  It knows nothing of
Streams' topics, and ends with this process, even if this process is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams import child_process
from streams.kafka.embedded import class_archive, formatting
from streams.kafka.embedded.jars import BrokerError, jars, java
from streams.ports import is_free

HOST: Final = "127.0.0.1"
_PROPERTIES: Final = "server.properties"
_LOG: Final = "log"
_CLASSES: Final = "classes"
"""These are relative to the node's folder, where Kafka runs: a comma in the folder's name
would make two folders of one, since `log.dirs` is a list."""
STOP_SECONDS: Final = 20.0
"""How long a node may take to stop before it is killed."""

_QUICK: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m")
"""For tools that run a second or two: optimised compilation would take longer."""

_MAIN: Final = "kafka.Kafka"

_COMMON: Final = (
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Djava.awt.headless=true",
    "-Dlog4j2.statusLoggerLevel=OFF",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    # Java's own warnings are no part of a tool's output.
    "-Xlog:disable",
    "-Xlog:all=warning:stderr",
)


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node as the others know it."""

    id: int
    port: int
    controller_port: int


def java_command(
    main_class: str, *arguments: str, options: Sequence[str] = _QUICK, level: str = "warn"
) -> list[str]:
    """Return the command that runs a main class of Kafka's jars.

    Raises:
        BrokerError: Java or the jars are missing.
    """
    return _java_command(main_class, arguments, [*options, *class_archive.options()], level)


def _java_command(
    main_class: str, arguments: Sequence[str], options: Sequence[str], level: str = "warn"
) -> list[str]:
    classpath = os.pathsep.join(str(jar) for jar in jars())
    logging = f"-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"
    return [str(java()), *options, *_COMMON, logging, "-cp", classpath, main_class, *arguments]


class Node:
    """One node of an embedded Kafka; it can be started and stopped repeatedly."""

    def __init__(
        self, me: NodeAddress, members: Sequence[NodeAddress], folder: Path, heap_mib: int
    ) -> None:
        self.id = me.id
        self.port = me.port
        self.controller_port = me.controller_port
        self.folder = folder
        self.log = folder / "kafka.log"
        self._me = me
        self._members = members
        self._heap_mib = heap_mib
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def address(self) -> str:
        """The node's `host:port` for clients."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Id of the running process, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, cluster_id: str, lock: int, properties: Mapping[str, str]) -> None:
        """Start the process; do not wait until it answers.

        It ends with this process at the latest. It inherits the file `lock`, and so holds that
        lock until it ends.

        Raises:
            BrokerError: a port is taken, or the folder cannot be formatted.
        """
        if self.pid is not None:
            return
        for port in (self.port, self.controller_port):
            if not is_free(port):
                raise BrokerError(
                    f"port {port} is taken: if a Kafka runs there, stop it or set "
                    "STREAMS_BROKERS to it"
                )
        self._write_properties(properties)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        if not formatting.is_formatted(self.folder / _LOG):
            self._format(cluster_id, lock)
        options = [*self._options(), *class_archive.listing(Path(_CLASSES))]
        self._process = self._run(java_command(_MAIN, _PROPERTIES, options=options), lock)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the process, by force if it takes longer than `seconds`."""
        self.ask_to_stop()
        if self._process:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if the process runs."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process, as a crash would."""
        self.signal(signal.SIGKILL)
        if self._process:
            self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the process if it runs; SIGSTOP suspends it, SIGCONT resumes it."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def keep_classes(self) -> None:
        """Have the classes kept that this node has loaded, for later starts; does not wait."""
        class_archive.make(self.folder / _CLASSES, _java_command(_MAIN, (), self._options()))

    def check(self) -> None:
        """Raise an error if the process has exited.

        Raises:
            BrokerError: the process is not running.
        """
        if self._process and self._process.poll() is None:
            return
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        if "Address already in use" in text:
            raise BrokerError(f"port {self.port} or {self.controller_port} is taken")
        raise BrokerError(f"Kafka node {self.id} has exited: see {self.log}")

    def _options(self) -> list[str]:
        return ["-XX:+UseSerialGC", "-Xms128m", f"-Xmx{self._heap_mib}m"]

    def _run(self, command: Sequence[str], lock: int) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return child_process.start(
                command, output=log, env=_environment(), folder=self.folder, pass_fds=[lock]
            )

    def _format(self, cluster_id: str, lock: int) -> None:
        if formatting.copy_format(self.folder / _LOG, cluster_id, self.id):
            return
        command = java_command(
            "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", _PROPERTIES
        )
        tool = self._run(command, lock)
        try:
            code = tool.wait()
        except BaseException:
            tool.kill()
            tool.wait()
            raise
        if code:
            raise BrokerError(f"{self.folder} could not be formatted: see {self.log}")
        formatting.keep_format(self.folder / _LOG)

    def _write_properties(self, more: Mapping[str, str]) -> None:
        """Write the node's properties; the voters are static, so that ports may change."""
        me, replicas = self._me, min(3, len(self._members))
        voters = (f"{m.id}@{HOST}:{m.controller_port}" for m in self._members)
        properties = {
            "process.roles": "broker,controller",
            "node.id": me.id,
            "controller.quorum.voters": ",".join(voters),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{me.port},CONTROLLER://{HOST}:{me.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{me.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": _LOG,
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": max(1, replicas - 1),
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": max(1, replicas - 1),
            "transaction.state.log.num.partitions": 4,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
            "num.network.threads": 2,
            "num.io.threads": 4,
            **more,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = (f"{name}={_escaped(str(value))}\n" for name, value in properties.items())
        (self.folder / _PROPERTIES).write_text("".join(lines), encoding="ascii")


def _environment() -> dict[str, str]:
    """Return the environment of a node: Java reads names of files by the locale's encoding."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _escaped(value: str) -> str:
    r"""Return a value as a .properties file has it: ASCII, with \uXXXX for UTF-16 code units.

    Source: java.util.Properties.load, which reads ISO 8859-1.
    """
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)
