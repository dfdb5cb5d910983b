"""How a worker logs: as JSON, one object per line, or as text; and what it leaves out."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.logs import logging_config

WORKER = "http://here:6066"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A log file; all loggers are restored afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield tmp_path / "worker.log"
    for handler in root.handlers[:]:
        if handler not in before[0]:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for name in ("faust", "mode", "aiokafka", "kafka", "asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def configure(file: Path, level: str, form: str) -> None:
    logging.config.dictConfig(logging_config(level, form, WORKER, str(file)))


def test_json_is_one_object_per_line_whatever_the_message(file: Path) -> None:
    configure(file, "INFO", "json")

    logging.getLogger("streams.x").info("two\nlines, a %s and a lone \udc80", '"quote"')
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("streams.y").exception("it failed")

    first, second = map(json.loads, file.read_text().splitlines())
    assert first.keys() == {"time", "level", "logger", "message", "worker"}
    assert (first["level"], first["logger"], first["worker"]) == ("INFO", "streams.x", WORKER)
    assert first["message"] == 'two\nlines, a "quote" and a lone \\udc80'
    assert first["time"].endswith("Z")
    assert "ValueError: why" in second["exception"]


def test_text_has_time_level_logger_and_message(file: Path) -> None:
    configure(file, "INFO", "text")

    logging.getLogger("streams.x").warning("hello")

    assert file.read_text()[24:] == " WARNING streams.x: hello\n"


def test_libraries_log_from_warning_on(file: Path) -> None:
    configure(file, "INFO", "text")

    logging.getLogger("faust.tables").info("a step")
    logging.getLogger("aiokafka.consumer").error("NotLeaderForPartitionError: again")
    logging.getLogger("streams.engine").info("[^--Engine]: Starting...")
    logging.getLogger("faust.tables").warning("trouble")
    logging.getLogger("streams.engine").info("ours")

    assert [line.rpartition(" ")[2] for line in file.read_text().splitlines()] == [
        "trouble",
        "ours",
    ]


def test_debug_shows_everything(file: Path) -> None:
    configure(file, "DEBUG", "text")

    logging.getLogger("faust.tables").debug("a step")
    logging.getLogger("aiokafka.consumer").error("NotLeaderForPartitionError: again")

    assert len(file.read_text().splitlines()) == 2


def test_a_line_that_repeats_is_logged_once(file: Path) -> None:
    configure(file, "INFO", "text")

    for node in range(1000):
        logging.getLogger("aiokafka").error("Unable connect to node with id %s: refused", node % 2)
        logging.getLogger("streams.engine").info("ours")

    lines = file.read_text().splitlines()
    assert sum("Unable connect" in line for line in lines) == 2
    assert sum("ours" in line for line in lines) == 1000


def test_debug_repeats_every_line(file: Path) -> None:
    configure(file, "DEBUG", "text")

    for _ in range(10):
        logging.getLogger("aiokafka").error("refused")

    assert len(file.read_text().splitlines()) == 10
