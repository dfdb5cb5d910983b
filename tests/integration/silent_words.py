"""A worker of `examples/word_count.py` whose source reader falls silent.

At SIGRTMIN Kafka's client stops fetching, as if it hung.  The engine does not know it.
"""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from streams.engine.silence import SilenceWatch

EXAMPLE = Path(__file__).parents[2] / "examples" / "word_count.py"
PATIENCE_SECONDS = 4.0
"""In place of the 20 s after which the engine reads a silent partition again."""


def load() -> Any:
    """Return the app of the example."""
    spec = importlib.util.spec_from_file_location("word_count", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def fall_silent(app: Any) -> None:
    """Have the client of the source reader fetch nothing more."""
    source = app.engine.runtime.source
    source._consumer.pause([TopicPartition(*partition) for partition in dict(source._expected)])


if __name__ == "__main__":
    app = load()
    app.engine._silence_watch = SilenceWatch(2.0, PATIENCE_SECONDS)
    signal.signal(signal.SIGRTMIN, lambda *_: fall_silent(app))
    app.main()
