"""`streams worker`: Faust's own command and options, without the banner.

The worker logs its versions and addresses instead, in the configured log format.
"""

from __future__ import annotations

from typing import Any

from faust.cli.worker import worker as faust_worker


class worker(faust_worker):
    """Start a worker."""

    def on_worker_created(self, worker: Any) -> None:
        """Print nothing."""
