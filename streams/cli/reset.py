"""`streams reset`: deletes a worker's tables, which it then restores from the changelog."""

from __future__ import annotations

import shutil
from typing import Any

import click

from streams.cli.base import StreamsCommand
from streams.data_folder import DataFolder
from streams.errors import StreamsError
from streams.settings import Settings


class reset(StreamsCommand):
    """Delete the tables of a worker that is stopped; its data folder is STREAMS_DATA.

    Nothing is lost: at its next start the worker restores them from the changelog.
    """

    def execute_now(self, **_: Any) -> int:
        """Delete the tables unless a process uses them."""
        settings = Settings.from_env()
        data = settings.data
        tables = data / "tables" / settings.app_id
        if not tables.is_dir():
            raise StreamsError(
                f"no tables of {settings.app_id} in {data}: "
                "set STREAMS_DATA to a worker's data folder"
            )
        with DataFolder(data):
            try:
                shutil.rmtree(tables)
            except OSError as error:
                raise StreamsError(f"cannot delete {tables}: {error.strerror}") from error
        click.echo(f"deleted {tables}")
        return 0
