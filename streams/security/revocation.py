"""Tokens taken back before they expire: single ones by their id, and all older ones of a subject.

The list is a JSON object with any of two members, and no others:

============== =========================================================================
`tokens`       a list of ids of tokens, as their claim `jti` says
`subjects`     an object: for a subject, as the claim `sub` says, from when on its tokens
               must have been issued (claim `iat`, in seconds since 1970); one that does
               not say when it was issued is taken back too
============== =========================================================================

An entry may go when every token that it is about has expired.  Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from streams.errors import SettingsError
from streams.security.permissions import Permissions

MAX_ENTRIES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Revoked:
    """Which tokens are taken back."""

    tokens: frozenset[str] = frozenset()
    subjects: Mapping[str, float] = field(default_factory=dict)

    def revokes(self, permissions: Permissions) -> bool:
        """Tell whether the token of a grant is taken back."""
        if permissions.token_id is not None and permissions.token_id in self.tokens:
            return True
        if permissions.subject is None:
            return False
        since = self.subjects.get(permissions.subject)
        return since is not None and (
            permissions.issued_at is None or permissions.issued_at < since
        )


def read_revoked(content: bytes) -> Revoked:
    """Return what a list says.

    Raises:
        SettingsError: it is malformed.
    """
    try:
        found = orjson.loads(content)
    except ValueError:
        raise SettingsError("it is no JSON") from None
    if not isinstance(found, dict) or not found.keys() <= {"tokens", "subjects"}:
        raise SettingsError('it is no object of "tokens" and "subjects"')
    tokens, subjects = found.get("tokens", []), found.get("subjects", {})
    if not isinstance(tokens, list) or not all(isinstance(one, str) for one in tokens):
        raise SettingsError("tokens must be a list of ids of tokens")
    if not isinstance(subjects, dict) or not all(map(_is_time, subjects.values())):
        raise SettingsError("subjects must be an object of times, in seconds since 1970")
    if len(tokens) + len(subjects) > MAX_ENTRIES:
        raise SettingsError(f"more than {MAX_ENTRIES} entries in it")
    return Revoked(frozenset(tokens), subjects)


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
