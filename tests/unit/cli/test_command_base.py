"""Errors of commands are one line that says what to do; what else they do is their own."""

from __future__ import annotations

import os
import signal

import click
import pytest

from streams.cli.base import INTERRUPTED, exit_code, stopped_by_signals
from streams.errors import StreamsError, Unavailable


def fail(error: BaseException) -> int:
    raise error


def test_the_exit_code_is_that_of_the_command() -> None:
    assert exit_code(lambda: 3) == 3


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    # When a command raises an error of ours, with line breaks in its text
    code = exit_code(lambda: fail(StreamsError("no Kafka\n  answers; start one")))
    # Then there is one line on stderr, and no stack trace
    assert code == 1
    assert capsys.readouterr().err == "streams: no Kafka answers; start one\n"


def test_what_cannot_be_reached_has_a_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: fail(Unavailable("Kafka does not answer"))) == 3
    assert capsys.readouterr().err == "streams: Kafka does not answer\n"


def test_wrong_usage_is_told_as_click_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: fail(click.UsageError("not both"))) == 2
    assert "not both" in capsys.readouterr().err


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: fail(ZeroDivisionError()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_the_second_does_nothing(number: signal.Signals) -> None:
    # Given a command that stops things when it is interrupted
    before = signal.getsignal(number)
    stopped = []

    def command() -> int:
        try:
            os.kill(os.getpid(), number)
            raise AssertionError("the signal was not noticed")
        finally:
            os.kill(os.getpid(), number)
            stopped.append(True)

    # When a signal comes, and one more while it stops
    with stopped_by_signals():
        code = exit_code(command)
    # Then it could finish stopping, and signals are as they were
    assert (code, stopped) == (INTERRUPTED, [True])
    assert signal.getsignal(number) is before
