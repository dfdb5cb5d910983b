"""Sessions that follow each other faster than what they ask for: the open one has its own."""

from __future__ import annotations

from core_rows import rows_in  # noqa: F401 - all tests run twice
from two_logs import TwoLogs

from streams.events.records import Bind, Open, Unbind
from streams.folds import views


def bound_in(world: TwoLogs) -> str | None:
    """Return the session in which q is bound to g, once all has settled; nothing is covered."""
    world.settle()
    (members,) = world.rows("members")
    assert not [key for key, _ in members.items() if key.startswith(b"u")]
    found = views.member(members, "g", "q")
    (queues,) = world.rows("queues")
    assert views.binding(queues, "q", "g") == (found is not None, found and found.session)
    return found.session if found else None


def test_a_bind_that_overtakes_what_earlier_logins_ask_for() -> None:
    # Given three logins in quick succession, and a Bind within the third
    world = TwoLogs(1)
    world.publish(Open("q", "s1", ("g",)))
    world.publish(Open("q", "s2", ("g",)))
    world.publish(Open("q", "s3"))
    world.publish(Bind("g", "q", "s3"))
    # When it is folded before what the first two ask for
    world.work("members", 0, 10)
    assert bound_in(world) == "s3"


def test_a_late_bind_beside_what_an_earlier_login_asks_for() -> None:
    # Given a login after another, and a Bind within the second
    world = TwoLogs(1)
    world.publish(Open("q", "s0"))
    world.settle()
    world.publish(Open("q", "s1", ("g",)))
    world.publish(Open("q", "s2"))
    world.publish(Bind("g", "q", "s2"))
    # When what the first asks for comes after it, and a late Bind of a session before them
    world.work("queues", 0, 3)
    world.publish(Bind("g", "q", "s0"))
    assert bound_in(world) == "s2"


def test_what_a_session_leaves_does_not_come_back() -> None:
    # Given a login that takes over from another, and binds the group that both have once more
    world = TwoLogs(1)
    world.publish(Open("q", "s1", ("g",)))
    world.settle()
    world.publish(Open("q", "s2", ("g",)))
    world.publish(Bind("g", "q", "s2"))
    assert bound_in(world) == "s2"
    # When it leaves the group later, Then it is out of it
    world.publish(Unbind("g", "q", "s2"))
    assert bound_in(world) is None
