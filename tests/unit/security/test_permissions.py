"""Permissions: what is not granted is refused, and an invalid claim grants nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streams.errors import BadToken, Forbidden
from streams.security.permissions import ALL, NOTHING, Permissions, permissions_of

BOB: dict[str, Any] = {
    "publish": ["chat.*", "@ann"],
    "bind": ["chat.*"],
    "read": ["@bob", "@bob.*", "chat.tavern"],
}

Ask = Callable[[Permissions], Any]


def granted(scopes: dict[str, Any], namespace: str = "", **claims: Any) -> Permissions:
    return permissions_of({"exp": 2_000_000_000, "streams": scopes, **claims}, namespace)


ALLOWED: list[Ask] = [
    lambda g: g.check_publish("chat.tavern"),
    lambda g: g.check_publish("@ann"),
    lambda g: g.check_binding("chat.tavern", "bob"),
    lambda g: g.check_binding("chat.tavern", "bob.phone"),
    lambda g: g.check_queue("bob"),
    lambda g: g.check_read("@bob.phone"),
    lambda g: g.check_read("chat.tavern"),
    lambda g: g.check_group("chat.x"),
]
REFUSED: list[Ask] = [
    lambda g: g.check_publish("news"),
    lambda g: g.check_publish("@bob"),
    lambda g: g.check_publish("@annie"),
    lambda g: g.check_publish("@chat.tavern"),
    lambda g: g.check_binding("chat.tavern", "ann"),
    lambda g: g.check_binding("news", "bob"),
    lambda g: g.check_queue("ann"),
    lambda g: g.check_queue("bobby"),
    lambda g: g.check_queue("chat.tavern"),
    lambda g: g.check_read("bob"),
    lambda g: g.check_read("chat.other"),
    lambda g: g.check_observe(),
    lambda g: g.check_admin(),
]


@pytest.mark.parametrize("ask", ALLOWED)
def test_what_is_granted(ask: Ask) -> None:
    ask(granted(BOB))
    ask(ALL)


@pytest.mark.parametrize("ask", REFUSED)
def test_what_is_not_granted_is_refused(ask: Ask) -> None:
    with pytest.raises(Forbidden):
        ask(granted(BOB))
    ask(ALL)


@pytest.mark.parametrize("ask", [*ALLOWED, *REFUSED])
@pytest.mark.parametrize("nothing", [NOTHING, granted({}), granted({"admin": False})])
def test_nothing_is_granted_by_default(ask: Ask, nothing: Permissions) -> None:
    with pytest.raises(Forbidden):
        ask(nothing)


def test_binding_the_queues_of_others_does_not_grant_reading_them() -> None:
    permissions = granted({"bind": ["chat.*", "@*"]})

    permissions.check_binding("chat.a", "ann")
    with pytest.raises(Forbidden):
        permissions.check_queue("ann")
    with pytest.raises(Forbidden):
        permissions.check_binding("news", "ann")


def test_an_observer_may_only_observe() -> None:
    permissions = granted({"observe": True})

    permissions.check_observe()
    with pytest.raises(Forbidden):
        permissions.check_admin()


def test_a_subject_sends_under_its_own_name() -> None:
    bob = granted(BOB, sub="bob")

    assert bob.sender(None) == "bob"
    assert bob.sender("bob") == "bob"
    for other in ("ann", "Bob", ""):
        with pytest.raises(Forbidden):
            bob.sender(other)
    assert granted(BOB).sender(None) == ""
    assert granted(BOB).sender("bob.phone") == "bob.phone"
    assert ALL.sender("ann") == "ann"
    for other in ("ann", ""):
        with pytest.raises(Forbidden):
            granted(BOB).sender(other)
    assert granted({"admin": True}, sub="root").sender("ann") == "ann"
    assert granted({"admin": True}, sub="root").sender(None) == "root"


def test_a_token_is_for_one_namespace() -> None:
    assert granted({"namespace": "a", "admin": True}, "a").admin
    for scopes, namespace in (
        ({"namespace": "a"}, ""),
        ({"namespace": "a"}, "b"),
        ({"admin": True}, "a"),
        ({"namespace": ["a"]}, "a"),
        ({"namespace": "*"}, "a"),
    ):
        with pytest.raises(BadToken, match="namespace"):
            granted(scopes, namespace)


@pytest.mark.parametrize(
    "claims",
    [
        {"streams": None},
        {"streams": ["admin"]},
        {"streams": "admin"},
        {"streams": {"publish": "*"}},
        {"streams": {"publish": [1]}},
        {"streams": {"publish": [""]}},
        {"streams": {"publish": {"*": True}}},
        {"streams": {"admin": 1}},
        {"streams": {"admin": "true"}},
        {"streams": {"observe": None}},
        {"streams": {"rate": -1}},
        {"streams": {"rate": True}},
        {"streams": {"rate": "9"}},
        {"streams": {"adminn": True}},
        {"sub": 7},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "x" * 256},
    ],
)
def test_invalid_claims_make_the_token_invalid(claims: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        permissions_of({"exp": 2_000_000_000, "streams": BOB, **claims}, "")
