"""Revocation of tokens: by id, or because they were issued before a time."""

from __future__ import annotations

import pytest

from streams.errors import SettingsError
from streams.security.permissions import Permissions
from streams.security.revocation import Revoked, read_revoked


def test_a_token_is_revoked_by_its_id() -> None:
    revoked = read_revoked(b'{"tokens": ["a", "b"]}')

    assert revoked.revokes(Permissions(token_id="a"))
    assert revoked.revokes(Permissions(token_id="b", subject="bob", issued_at=9e9))
    assert not revoked.revokes(Permissions(token_id="c"))
    assert not revoked.revokes(Permissions())


def test_older_tokens_of_a_subject_are_revoked() -> None:
    revoked = read_revoked(b'{"subjects": {"bob": 1000, "": 5.5}, "tokens": []}')

    assert revoked.revokes(Permissions(subject="bob", issued_at=999.9))
    assert revoked.revokes(Permissions(subject="bob"))
    assert not revoked.revokes(Permissions(subject="bob", issued_at=1000))
    assert not revoked.revokes(Permissions(subject="ann", issued_at=1))
    assert not revoked.revokes(Permissions(issued_at=1))


def test_an_empty_list_revokes_nothing() -> None:
    assert read_revoked(b"{}") == Revoked()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"token": []}',
        b'{"tokens": "a"}',
        b'{"tokens": [1]}',
        b'{"subjects": ["bob"]}',
        b'{"subjects": {"bob": "today"}}',
        b'{"subjects": {"bob": true}}',
    ],
)
def test_a_malformed_list_is_refused(content: bytes) -> None:
    with pytest.raises(SettingsError):
        read_revoked(content)
