"""`streams schemas register`: puts the schemas of events into a schema registry."""

from __future__ import annotations

import json
import sys

import click

from streams.cli.base import exit_code, json_wanted, ours
from streams.settings import Settings


@ours.group()
def schemas() -> None:
    """Put the schemas of events into a schema registry."""


@schemas.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.pass_context
def register(context: click.Context, as_json: bool) -> None:
    """Register Bind, Message and Unbind at STREAMS_SCHEMA_REGISTRY_URL; print their ids.

    The subjects are the names of the records, such as streams.v1.Message (Confluent's
    RecordNameStrategy).  A schema that is there already keeps its id.
    """
    as_json = as_json or json_wanted(context)
    sys.exit(exit_code(lambda: _register(as_json)))


def _register(as_json: bool) -> int:
    from streams.errors import SettingsError
    from streams.events.schema import folder
    from streams.schema_registry.registry import Registry
    from streams.schema_registry.translating import TYPES

    url = Settings.from_env().schema_registry_url
    if not url:
        raise SettingsError("STREAMS_SCHEMA_REGISTRY_URL is not set: where is the registry?")
    registry = Registry(url)
    for name in TYPES:
        subject = f"streams.v1.{name}"
        number = registry.register(subject, (folder() / f"{name}.avsc").read_text())
        row = {"subject": subject, "id": number}
        click.echo(json.dumps(row) if as_json else f"{subject} has id {number}")
    return 0
