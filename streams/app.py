"""The app of ``faust -A streams.app`` and ``streams worker``, built from the environment."""

import streams.cli.commands  # noqa: F401 - so that `faust -A streams.app` knows our commands
from streams.errors import SettingsError
from streams.settings import Settings
from streams.worker import build

try:
    app = build(Settings.from_env())
except SettingsError as error:
    raise SystemExit(f"streams: {error}") from None
