"""What everything is doing when a system makes no progress, in words.

The workers say it of themselves under `/v1/cluster?debug=1`.  `streams.stall_timer` decides when
there is no progress.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH = "/v1/cluster?debug=1"
_IDLE = ("thread.py", "selectors.py", "threading.py")
"""Where threads are that have nothing to do."""


def report(
    answers: Mapping[str, Mapping[str, Any] | str],
    ends: Mapping[str, Mapping[int, int]] | str,
) -> str:
    """Return what workers and Kafka are doing, in lines.

    Args:
        answers: by URL of a worker, its answer to `PATH`, or why there is none.
        ends: by topic, the end of each partition; or why Kafka does not tell.
    """
    lines: list[str] = []
    for url, answer in answers.items():
        if isinstance(answer, str):
            lines.append(f"worker {url} does not answer: {answer}")
        else:
            lines += _worker(url, answer)
    if isinstance(ends, str):
        lines.append(f"Kafka does not answer: {ends}")
    else:
        for topic, partitions in ends.items():
            listed = " ".join(f"{number}:{end}" for number, end in sorted(partitions.items()))
            lines.append(f"{topic} ends at {listed}")
    return "\n".join(lines)


def _worker(url: str, answer: Mapping[str, Any]) -> list[str]:
    debug: Mapping[str, Any] = answer.get("debug") or {}
    group = debug.get("group") or {}
    words = [
        "ready" if answer.get("ready") else "not ready",
        f"generation {answer.get('generation')}",
        f"last heartbeat {_seconds(group.get('heartbeat_seconds_ago'))} ago",
        f"{answer.get('outputs_queued')} outputs not confirmed",
    ]
    words += ["rebalancing"] if answer.get("rebalancing") else []
    words += ["joining the group"] if group.get("joining") else []
    words += ["missed a generation"] if group.get("missed_generation") else []
    words += [f"failed: {answer['failure']}"] if answer.get("failure") else []
    words += ["a checkpoint computes"] if debug.get("compute_lock") else []
    pid = answer.get("pid")
    state = process_state(pid) if isinstance(pid, int) else None
    lines = [f"worker {url} (process {pid}{f', {state}' if state else ''}): " + ", ".join(words)]
    lines += [f"  {duty}: no progress for {s} s" for duty, s in debug.get("waited", {}).items()]
    inside = {(row["table"], row["partition"]): row for row in debug.get("partitions", ())}
    for row in answer.get("partitions", ()):
        if "state" in row:
            lines.append("  " + _partition(row, inside.get((row["table"], row["partition"]), {})))
    reader = debug.get("source_reader")
    if reader:
        lines.append("  " + _reader(reader))
    for row in debug.get("threads", ()):
        calls = row["at"][:3]
        if calls and not any(idle in calls[0] for idle in _IDLE):
            lines.append(f"  thread {', '.join(row['threads'])}: {' < '.join(calls)}")
    return lines


def _partition(row: Mapping[str, Any], inside: Mapping[str, Any]) -> str:
    words = [
        str(row["state"]),
        f"position {row['position']} of {row['end']}",
        f"checkpointed {row['checkpointed']}",
        f"restored {row.get('restored')}",
        f"{row.get('failures')} failures",
    ]
    if row.get("held"):
        words.append(f"held: {row['held']}")
    if row.get("lost"):
        words.append(str(row["lost"]))
    if inside:
        words.append("lease valid" if inside.get("lease") else "no valid lease")
        words += ["waits for a thread to open"] if inside.get("opening_queued") else []
        words.append(f"{inside.get('chunks_waiting')} chunks wait")
        checkpoint = inside.get("checkpoint")
        if checkpoint:
            words.append(
                f"checkpoint at step {checkpoint['step']} for {checkpoint['seconds']} s,"
                f" {checkpoint['outputs_waited_for']} outputs to come"
            )
        words.append("task at " + (" < ".join(inside.get("task", ())[:3]) or "its end"))
    return f"{row['table']}/{row['partition']}: " + ", ".join(words)


def _reader(reader: Mapping[str, Any]) -> str:
    rows = [
        f"{row['topic']}/{row['partition']} next {row['next']} of {row['end']}"
        f" backlog {row['backlog']}{' paused' if row['paused'] else ''}"
        for row in reader["partitions"]
    ]
    return (
        f"source reader: turn {reader['turns']}, {reader['commands_waiting']} commands wait,"
        f" last delivery {'taken' if reader['delivery_taken'] else 'not taken'}; " + "; ".join(rows)
    )


def _seconds(value: object) -> str:
    return "never, or long" if value is None else f"{value} s"


_STATES = {"T": "stopped", "t": "traced", "D": "waits for a disk", "Z": "ended"}


def process_state(pid: int) -> str | None:
    """Return the state of a process of this machine in words; None if it runs or sleeps."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return _STATES.get(stat.rpartition(")")[2].split()[0])
