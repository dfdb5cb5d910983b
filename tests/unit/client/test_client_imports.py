"""The client alone: what it may import, and what it says when an extra is missing."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_CONFLUENT = """
import sys
sys.modules["confluent_kafka"] = None
import streams.client.direct
"""
IMPORTED = """
import sys, streams.client
heavy = {"faust", "mode", "aiokafka", "rocksdict", "confluent_kafka", "fastavro", "jwt"}
print(*sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_client_imports_neither_the_worker_nor_a_kafka_client() -> None:
    ended = _run(IMPORTED)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == ""


def test_the_direct_producer_names_the_extra_that_it_needs() -> None:
    ended = _run(WITHOUT_CONFLUENT)

    assert ended.returncode == 1
    assert "pip install 'group-streams[direct]'" in ended.stderr.splitlines()[-1]
