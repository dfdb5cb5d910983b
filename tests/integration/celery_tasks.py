"""Tasks for a real Celery worker; `CELERY_BROKER` is the URL of an AMQP port."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

app = Celery("tasks", broker=os.environ.get("CELERY_BROKER"), backend="rpc://")


@app.task  # type: ignore[untyped-decorator]
def add(one: int, other: int) -> int:
    return one + other


@app.task(bind=True, max_retries=3)  # type: ignore[untyped-decorator]
def third_time(self: Any) -> int:
    """Fail twice; return how often it was tried again."""
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return int(self.request.retries)
