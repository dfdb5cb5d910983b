"""`streams token`: makes a key, signs what workers take, and says in one line what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streams.errors import Forbidden
from streams.security.keys import read_keys
from streams.security.tokens import Rules, verify


def streams_token(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "streams.app", "token", *arguments],
        cwd=folder,
        env={"PATH": "", "STREAMS_DATA": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_a_key_is_made_and_signs_what_workers_take(tmp_path: Path) -> None:
    scopes = ["--subject", "bob", "--publish", "chat.*", "--read", "@bob", "--read", "@bob.*"]
    signed = streams_token(
        tmp_path,
        *("--key", "key.pem", "--new-key", "public.pem", *scopes),
        STREAMS_NAMESPACE="village",
        STREAMS_AUTH_AUDIENCE="messages",
        STREAMS_AUTH_ISSUER="https://id.example.org",
    )
    assert signed.returncode == 0, signed.stderr

    keys = read_keys((tmp_path / "public.pem").read_bytes())
    rules = Rules("messages", "https://id.example.org", "village")
    permissions = verify(signed.stdout.strip(), keys, rules)

    assert permissions.subject == "bob"
    permissions.check_publish("chat.tavern")
    permissions.check_queue("bob.phone")
    with pytest.raises(Forbidden):
        permissions.check_group("chat.tavern")
    with pytest.raises(Forbidden):
        permissions.check_observe()


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("hello")
    for arguments, says in (
        (["--key", "nowhere.pem"], "cannot read nowhere.pem"),
        (["--key", "key.pem"], "not a private key"),
        (["--key", "key.pem", "--new-key", "public.pem"], "exists already"),
        (["--key", "key.pem", "--subject", "x" * 300], "'sub'"),
    ):
        refused = streams_token(tmp_path, *arguments)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert says in refused.stderr
        assert refused.stderr.count("\n") == 1
