"""The format of a node's log folder: made by Kafka's tool once, and copied from then on.

The tool writes two files. `bootstrap.checkpoint` says which features a new cluster has; it is the
same for every node of one Kafka, so it is kept beside the jars. `meta.properties` names cluster
and node; Kafka takes a folder that has it for formatted. A start without the tool saves a second
of processor time.
"""

from __future__ import annotations

import os
import shutil
import uuid
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from typing import Final

from streams.kafka.embedded.jars import KAFKA_VERSION, cache

_CHECKPOINT: Final = "bootstrap.checkpoint"
_META: Final = "meta.properties"


def random_uuid() -> str:
    """Return a new id of a cluster or a folder, as Kafka's tool makes them."""
    made = "-"
    while made.startswith("-"):  # the tool would parse it as an option
        made = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    return made


def is_formatted(log: Path) -> bool:
    """Return whether a log folder has its format."""
    return (log / _META).exists()


def copy_format(log: Path, cluster_id: str, node_id: int) -> bool:
    """Format a log folder as the tool did another one; return whether there was one.

    Raises:
        OSError: the folder cannot be written.
    """
    kept = _kept()
    if not kept.exists() or not kept.stat().st_size:  # empty after a loss of power
        return False
    log.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kept, log / _CHECKPOINT)
    lines = (
        f"cluster.id={cluster_id}\n",
        f"directory.id={random_uuid()}\n",
        f"node.id={node_id}\n",
        "version=1\n",
    )
    unfinished = log / f"{_META}.tmp"
    unfinished.write_text("".join(lines), encoding="ascii")
    unfinished.rename(log / _META)  # last, since it is what makes the folder a formatted one
    return True


def keep_format(log: Path) -> None:
    """Keep what the tool has written into a log folder, if there is room for it."""
    unfinished = _kept().with_name(f"{os.getpid()}-{random_uuid()}.tmp")
    with suppress(OSError):
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(log / _CHECKPOINT, unfinished)
            unfinished.rename(_kept())
        finally:
            unfinished.unlink(missing_ok=True)


def _kept() -> Path:
    return cache() / f"kafka-{KAFKA_VERSION}-format" / _CHECKPOINT
