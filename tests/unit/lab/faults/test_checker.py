"""The checker of the fault suite catches what it is there for: one planted bug each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.events.records import Ack, Bind, Message, Unbind
from streams.lab.faults import checker
from streams.lab.faults.checker import Findings, check
from streams.lab.faults.evidence import AckStep, Answers, Evidence, LogEntry, ReadStep, Tables
from streams.lab.workload.model import GroupEvent, QueuedMessage


def honest() -> Evidence:
    """What is seen of a small run of a system that keeps its word.

    Queues a and b are bound to g; b leaves before the third message.  Queue a is read and
    acked up to its second message, and read again; nobody reads b and d.
    """
    events: list[GroupEvent] = [
        Bind("g", "a"),
        Bind("g", "b", "s"),
        Message("m1", "g", "me"),
        Message("m2", "g", "me"),
        Message("m1", "g", "me"),  # the publisher sent it again
        Unbind("g", "b", "s"),
        Message("m3", "g", "me"),
        Message("m4", "@d", "me"),
    ]
    one, two, three = (QueuedMessage(seq, "g", f"m{seq}") for seq in (1, 2, 3))
    rows = [(b"mg\0a", b"\0\0"), (b"dg\0m1", b"12345678")]
    return Evidence(
        log=[LogEntry(0, offset, 1000 + offset, event) for offset, event in enumerate(events)],
        acks=[Ack("a", 2)],
        answers=Answers(
            messages={(0, 2): ("g", "m1"), (0, 3): ("g", "m2"), (0, 7): ("@d", "m4")},
            consumers={
                "a": [
                    ReadStep(0, (one, two), True),
                    AckStep(2),
                    ReadStep(2, (), True),
                    ReadStep(2, (three,), True),
                    ReadStep(0, (three,), True),
                ]
            },
        ),
        tables=Tables(
            members={("g", "a"): None},
            bindings={("g", "a"): None},
            inboxes={"a": [three], "b": [one, two], "d": [QueuedMessage(1, "@d", "m4")]},
            live={("members", 0): list(rows)},
            refolded={("members", 0): list(rows)},
            restored={("members", 0): list(rows)},
        ),
        poison=1,
        dead_letters=["no Avro"],
        stalls={("members", 0): 40.0, ("queues", 0): 1.0},
        untouched={("queues", 0)},
    )


def test_an_honest_system_is_not_accused() -> None:
    findings = check(honest())
    assert findings.ok, findings.examples
    assert (findings.expected, findings.found) == (6, 6)


Bug = Callable[[Evidence], None]


def _lost(evidence: Evidence) -> None:
    evidence.tables.inboxes["b"].pop(0)


def _lost_of_all(evidence: Evidence) -> None:
    del evidence.tables.inboxes["d"]


def _confirmed_and_not_there(evidence: Evidence) -> None:
    evidence.answers.messages[0, 6] = ("g", "m5")


def _change_confirmed_and_not_there(evidence: Evidence) -> None:
    evidence.answers.changes["Bind", "g", "e"] += 1


def _duplicated(evidence: Evidence) -> None:
    evidence.tables.inboxes["b"].append(QueuedMessage(9, "g", "m2"))


def _sent_twice_and_taken_twice(evidence: Evidence) -> None:
    evidence.tables.inboxes["b"].append(QueuedMessage(3, "g", "m1"))


def _extra_recipient(evidence: Evidence) -> None:
    evidence.tables.inboxes["c"] = [QueuedMessage(1, "g", "m1")]


def _got_after_leaving(evidence: Evidence) -> None:
    evidence.tables.inboxes["b"].append(QueuedMessage(3, "g", "m3"))


def _reordered(evidence: Evidence) -> None:
    evidence.tables.inboxes["b"] = [QueuedMessage(1, "g", "m2"), QueuedMessage(2, "g", "m1")]


def _answer_out_of_order(evidence: Evidence) -> None:
    steps = evidence.answers.consumers["a"]
    steps[0] = ReadStep(0, (QueuedMessage(2, "g", "m2"), QueuedMessage(1, "g", "m1")), True)


def _seq_below_what_was_read(evidence: Evidence) -> None:
    # a reader that goes on from seq 2 would never have seen it
    steps = evidence.answers.consumers["a"]
    steps[0] = ReadStep(0, (QueuedMessage(2, "g", "m2"),), True)
    steps.insert(1, ReadStep(0, (QueuedMessage(1, "g", "m1"), QueuedMessage(2, "g", "m2")), True))


def _bound_on_one_side_only(evidence: Evidence) -> None:
    evidence.tables.bindings["g", "b"] = "s"


def _other_session_on_one_side(evidence: Evidence) -> None:
    evidence.tables.bindings["g", "a"] = "s"


def _both_sides_wrong(evidence: Evidence) -> None:
    evidence.tables.members.clear()
    evidence.tables.bindings.clear()


def _bound_in_a_session_that_is_over(evidence: Evidence) -> None:
    evidence.log[0] = LogEntry(0, 0, 1000, Bind("g", "a", "s"))
    evidence.tables.members["g", "a"] = evidence.tables.bindings["g", "a"] = "s"


def _log_leads_elsewhere(evidence: Evidence) -> None:
    evidence.tables.refolded["members", 0][1] = (b"dg\0m1", b"87654321")


def _changelog_lacks_a_row(evidence: Evidence) -> None:
    evidence.tables.restored["members", 0].pop()


def _changelog_has_a_row_too_many(evidence: Evidence) -> None:
    evidence.tables.restored["members", 0].append((b"mg\0z", b"\0\0"))


def _acked_came_back(evidence: Evidence) -> None:
    evidence.tables.inboxes["a"].insert(0, QueuedMessage(1, "g", "m1"))


def _acked_was_shown_again(evidence: Evidence) -> None:
    # as by a worker that does not know yet that it is not the owner any more
    one, three = QueuedMessage(1, "g", "m1"), QueuedMessage(3, "g", "m3")
    evidence.answers.consumers["a"].insert(2, ReadStep(0, (), True))
    evidence.answers.consumers["a"].append(ReadStep(0, (one, three), True))


def _unacked_is_gone(evidence: Evidence) -> None:
    evidence.acks.clear()


def _unacked_was_hidden_for_a_moment(evidence: Evidence) -> None:
    evidence.answers.consumers["a"].insert(4, ReadStep(0, (), True))


def _no_dead_letter(evidence: Evidence) -> None:
    evidence.dead_letters.clear()


def _good_record_in_the_dead_letters(evidence: Evidence) -> None:
    evidence.dead_letters.append("internal error")


def _untouched_stopped(evidence: Evidence) -> None:
    evidence.stalls["queues", 0] = 61.0


def _error_500(evidence: Evidence) -> None:
    evidence.answers.dishonest.append("GET /v1/queues/a: 500")


def _never_at_rest(evidence: Evidence) -> None:
    evidence.unfinished.append("members/0 is still opening")


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (_lost, checker.LOST),
        (_lost_of_all, checker.LOST),
        (_confirmed_and_not_there, checker.LOST),
        (_change_confirmed_and_not_there, checker.LOST),
        (_duplicated, checker.DUPLICATED),
        (_sent_twice_and_taken_twice, checker.DUPLICATED),
        (_extra_recipient, checker.EXTRA),
        (_got_after_leaving, checker.EXTRA),
        (_reordered, checker.DISORDERED),
        (_answer_out_of_order, checker.DISORDERED),
        (_seq_below_what_was_read, checker.DISORDERED),
        (_bound_on_one_side_only, checker.NOT_INVERSE),
        (_other_session_on_one_side, checker.NOT_INVERSE),
        (_both_sides_wrong, checker.NOT_INVERSE),
        (_bound_in_a_session_that_is_over, checker.OVER),
        (_log_leads_elsewhere, checker.NOT_REBUILT),
        (_changelog_lacks_a_row, checker.NOT_REBUILT),
        (_changelog_has_a_row_too_many, checker.NOT_REBUILT),
        (_acked_came_back, checker.RETURNED),
        (_acked_was_shown_again, checker.RETURNED),
        (_unacked_is_gone, checker.VANISHED),
        (_unacked_was_hidden_for_a_moment, checker.VANISHED),
        (_no_dead_letter, checker.POISONED),
        (_good_record_in_the_dead_letters, checker.POISONED),
        (_untouched_stopped, checker.STALLED),
        (_error_500, checker.DISHONEST),
        (_never_at_rest, checker.UNFINISHED),
    ],
)
def test_a_planted_bug_is_caught(plant: Bug, kind: str) -> None:
    # Given a run without fault, When one thing in it is wrong
    evidence = honest()
    plant(evidence)

    # Then the checker says which invariant does not hold, and nothing else
    findings: Findings = check(evidence)
    assert set(findings.counts) == {kind}, findings.examples
    assert findings.examples


def test_a_delivery_that_is_gone_is_told_with_the_read_that_lacks_it() -> None:
    evidence = honest()
    _unacked_was_hidden_for_a_moment(evidence)

    examples = check(evidence).examples

    assert any(text.endswith("in queue a: a read after seq 0 shows nothing") for text in examples)
