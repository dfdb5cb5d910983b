"""Revocation of tokens before they expire: one by its id, or all older ones of a subject.

The list is a JSON object with either or both of these members, and no others:

============== =========================================================================
`tokens`       a list of token ids (claim `jti`)
`subjects`     an object from subjects (claim `sub`) to times in seconds since 1970:
               tokens issued earlier (claim `iat`), or without that claim, are revoked
============== =========================================================================

Remove an entry once every token that it concerns has expired.  Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from streams.errors import SettingsError
from streams.security.permissions import LATEST_SECONDS, Permissions

MAX_ENTRIES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Revoked:
    """The list of revoked tokens."""

    tokens: frozenset[str] = frozenset()
    subjects: Mapping[str, float] = field(default_factory=dict)

    def revokes(self, permissions: Permissions) -> bool:
        """Tell whether the token with these permissions is revoked."""
        if permissions.token_id is not None and permissions.token_id in self.tokens:
            return True
        if permissions.subject is None:
            return False
        since = self.subjects.get(permissions.subject)
        return since is not None and (
            permissions.issued_at is None or permissions.issued_at < since
        )


def read_revoked(content: bytes) -> Revoked:
    """Parse a list of revoked tokens.

    Raises:
        SettingsError: the list is malformed.
    """
    try:
        found = orjson.loads(content)
    except ValueError:
        raise SettingsError("not JSON") from None
    if not isinstance(found, dict) or not found.keys() <= {"tokens", "subjects"}:
        raise SettingsError('must be an object with only "tokens" and "subjects"')
    tokens, subjects = found.get("tokens", []), found.get("subjects", {})
    if not isinstance(tokens, list) or not all(isinstance(one, str) for one in tokens):
        raise SettingsError("tokens must be a list of token ids")
    if not isinstance(subjects, dict) or not all(map(_is_time, subjects.values())):
        raise SettingsError(
            "subjects must be an object from subjects to seconds since 1970, not milliseconds"
        )
    if len(tokens) + len(subjects) > MAX_ENTRIES:
        raise SettingsError(f"more than {MAX_ENTRIES} entries")
    return Revoked(frozenset(tokens), subjects)


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return value <= LATEST_SECONDS  # a time in milliseconds is greater
