"""`streams worker`: Faust's own command, with its options, but without the banner.

What a worker is made of, it says in its log, in the form that was asked for.
"""

from __future__ import annotations

from typing import Any

from faust.cli.worker import worker as faust_worker


class worker(faust_worker):
    """Start a worker."""

    def on_worker_created(self, worker: Any) -> None:
        """Print nothing."""
