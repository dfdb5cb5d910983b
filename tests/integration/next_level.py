"""An app that knows one level of the folds more than this version: a version to come.

Level 2 does what level 1 does.  `faust -A next_level worker` is its worker, `python -m next_level`
its command line.
"""

from __future__ import annotations

from streams.folds import levels

levels.KNOWN = 2

from streams.cli import main  # noqa: E402
from streams.settings import Settings  # noqa: E402
from streams.worker import build  # noqa: E402

if __name__ == "__main__":
    main()
else:
    app = build(Settings.from_env())
