"""Count words with the engine of Streams, exactly, through crashes.

    WORDS_DATA=/tmp/words-1 python examples/word_count.py worker

starts a worker; start more with other folders.  Words are the keys of the records of `words`.
"""

import os
from collections import deque
from pathlib import Path

from streams.engine import App, EngineOptions, Record, Rows


class WordCount:
    """Count how often each key has occurred: row (``words``, word) -> count."""

    def __init__(self, rows: Rows, partition: int) -> None:
        self.rows = rows
        self.ready, self.work, self.may_wait = [], deque(), False

    def apply(self, record: Record) -> None:
        """Count one record."""
        count = int(self.rows.get(b"words", record.key) or 0)
        self.rows.put(b"words", record.key, b"%d" % (count + 1))

    def flush(self) -> None:
        """Nothing is packed."""


brokers = os.environ.get("WORDS_BROKERS", "127.0.0.1:9092")
data = Path(os.environ.get("WORDS_DATA", ".words"))
app = App(EngineOptions(app_id="word-count", brokers=brokers, data=data, partitions=4))
counts = app.folded_table("counts", "words", WordCount)


@app.agent(app.chunks("words"))
async def count(chunks):
    """Give the records that were read together to the table."""
    async for together in chunks:
        counts.fold(together)


if __name__ == "__main__":
    app.main()
