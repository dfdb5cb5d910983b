from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams import ports
from streams.errors import StreamsError

TAKE = "import sys; from streams.ports import *; print(free_ports('127.0.0.1', 21_000, 3))"


def test_two_processes_never_choose_the_same_port() -> None:
    mine = ports.free_ports("127.0.0.1", 21_000, 3)
    try:
        output = subprocess.run(
            [sys.executable, "-c", TAKE], capture_output=True, text=True, check=True
        ).stdout
        theirs = [int(word) for word in output.strip("[]\n").split(",")]
        assert len({*mine, *theirs}) == 6
    finally:
        ports.release(mine)


def test_a_port_that_something_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        assert not ports.hold(port)
        assert port not in ports.free_ports("127.0.0.1", port, 2)


def test_a_port_that_was_released_can_be_had_again() -> None:
    (port,) = ports.private_ports(1)
    ports.release([port])
    assert ports.hold(port)
    ports.release([port])


def test_an_address_of_another_machine_is_no_taken_port() -> None:
    with pytest.raises(StreamsError, match=r"cannot listen on 192\.0\.2\.1:21000: "):
        ports.is_free(21_000, "192.0.2.1")


def test_too_few_ports_are_an_error() -> None:
    with pytest.raises(StreamsError, match="fewer than 3 ports are free"):
        ports.free_ports("127.0.0.1", 65_534, 3)


def test_a_folder_of_ports_that_cannot_be_used_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"streams-ports-{os.getuid()}").write_text("")
    with pytest.raises(StreamsError, match=r"cannot use folder .*; delete it, or set TMPDIR"):
        ports.hold(21_000)
