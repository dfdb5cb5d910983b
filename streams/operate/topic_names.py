"""Short names of the product's topics, as the commands accept them."""

from __future__ import annotations

from streams.folds.tables import TABLES
from streams.settings import Settings


def full_name(settings: Settings, topic: str) -> str:
    """Return the full name of one of our topics; return any other name unchanged.

    Short names are `TABLE-changelog`, and all names without the namespace.
    """
    events = (settings.group_events, settings.queue_events, settings.dead_letters)
    changelogs = {f"{table}-changelog": settings.changelog(table) for table in TABLES}
    prefix = f"{settings.namespace}."
    short = {name.removeprefix(prefix): name for name in (*events, *changelogs.values())}
    return (short | changelogs).get(topic, topic)
