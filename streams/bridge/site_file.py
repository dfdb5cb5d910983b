"""Reads the settings of another site from a file of `NAME=VALUE` lines."""

from __future__ import annotations

from pathlib import Path

from streams.errors import SettingsError
from streams.settings import Settings


def site_settings(path: Path) -> Settings:
    """Return the settings in a file; empty lines and those that begin with `#` do not count.

    The names are those of the environment variables.  The environment itself belongs to this
    site, so nothing of it counts for the other one.

    Raises:
        SettingsError: the file cannot be read, a line is no setting, or a value is invalid.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings of the site cannot be read: {error}") from error
    values: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.startswith("STREAMS_"):
            raise SettingsError(
                f"{path}, line {number}: a line is NAME=VALUE with a name of a setting"
            )
        if name in values:
            raise SettingsError(f"{path}, line {number}: {name} is set twice")
        values[name] = value
    try:
        settings = Settings.from_env(values)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    if not settings.brokers_given:
        raise SettingsError(f"{path}: STREAMS_BROKERS is missing")
    return settings
