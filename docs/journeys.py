"""The three journeys of the architecture page, and how they are drawn as SVG.

Change the steps here, then run `make reference`. A step is (from, to, text); a step from a lane
to itself is work done there.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

LANE_WIDTH = 170
STEP_HEIGHT = 38
TOP = 64


@dataclass(frozen=True)
class Journey:
    """One sequence diagram."""

    title: str
    lanes: tuple[str, ...]
    steps: tuple[tuple[str, str, str], ...]


JOURNEYS = {
    "publish": Journey(
        "A message from HTTP to a WebSocket on another worker",
        (
            "sender",
            "worker A\ngateway",
            "Kafka",
            "worker B\nroute",
            "worker C\ndeliver",
            "receiver",
        ),
        (
            ("sender", "worker A\ngateway", "1 POST message"),
            ("worker A\ngateway", "Kafka", "2 Message → group-events"),
            ("Kafka", "worker A\ngateway", "3 confirmed"),
            ("worker A\ngateway", "sender", "4 201"),
            ("Kafka", "worker B\nroute", "5 chunk of records"),
            ("worker B\nroute", "worker B\nroute", "6 look up members"),
            ("worker B\nroute", "Kafka", "7 Routed → queue-events"),
            ("Kafka", "worker C\ndeliver", "8 chunk of records"),
            ("worker C\ndeliver", "worker C\ndeliver", "9 write inbox rows, wake"),
            ("worker C\ndeliver", "worker A\ngateway", "10 page of messages"),
            ("worker A\ngateway", "receiver", "11 WebSocket frames"),
        ),
    ),
    "bind": Journey(
        "A bind, from the log to the changelog and RocksDB",
        ("Kafka", "source", "partition", "overlay", "RocksDB"),
        (
            ("Kafka", "source", "1 fetch"),
            ("source", "partition", "2 chunk"),
            ("partition", "partition", "3 fold: _bind"),
            ("partition", "overlay", "4 put row"),
            ("partition", "Kafka", "5 Routed → queue-events"),
            ("partition", "partition", "6 checkpoint is due"),
            ("partition", "partition", "7 outputs are confirmed"),
            ("partition", "Kafka", "8 rows and marker → changelog"),
            ("partition", "RocksDB", "9 rows, marker, offset"),
            ("partition", "Kafka", "10 commit source offset"),
        ),
    ),
    "restart": Journey(
        "A partition after a crash",
        ("Kafka", "recovery", "partition", "RocksDB"),
        (
            ("Kafka", "recovery", "1 new assignment"),
            ("recovery", "partition", "2 open"),
            ("partition", "Kafka", "3 fence the old owner"),
            ("partition", "RocksDB", "4 open, or wipe and open"),
            ("RocksDB", "partition", "5 changelog offset"),
            ("Kafka", "partition", "6 rest of the changelog"),
            ("partition", "RocksDB", "7 restore rows"),
            ("RocksDB", "partition", "8 marker: source offset"),
            ("Kafka", "partition", "9 source from that offset"),
            ("partition", "partition", "10 fold to the end: ready"),
        ),
    ),
}


def draw(journey: Journey) -> str:
    """Return a sequence diagram as SVG."""
    width = LANE_WIDTH * len(journey.lanes)
    height = TOP + STEP_HEIGHT * (len(journey.steps) + 1)
    at = {lane: LANE_WIDTH * number + LANE_WIDTH // 2 for number, lane in enumerate(journey.lanes)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(journey.title)}</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#333"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for lane, x in at.items():
        lines = lane.split("\n")
        parts.append(
            f'<rect x="{x - 62}" y="10" width="124" height="40" rx="5" fill="#e8eaf6" '
            'stroke="#3f51b5"/>'
        )
        for number, line in enumerate(lines):
            y = 34 + 15 * number - 7 * (len(lines) - 1)
            parts.append(f'<text x="{x}" y="{y}" text-anchor="middle">{escape(line)}</text>')
        parts.append(
            f'<line x1="{x}" y1="50" x2="{x}" y2="{height - 10}" stroke="#9e9e9e" '
            'stroke-dasharray="4 4"/>'
        )
    for number, (begin, end, text) in enumerate(journey.steps):
        y = TOP + STEP_HEIGHT * (number + 1) - 8
        x1, x2 = at[begin], at[end]
        if begin == end:
            parts.append(f'<circle cx="{x1}" cy="{y - 4}" r="4" fill="#333"/>')
            middle, anchor = x1 + 10, "start"
            if x1 == max(at.values()):
                middle, anchor = x1 - 10, "end"
        else:
            parts.append(
                f'<line x1="{x1}" y1="{y}" x2="{x2}" y2="{y}" stroke="#333" '
                'marker-end="url(#head)"/>'
            )
            middle, anchor = (x1 + x2) // 2, "middle"
            y -= 6
        label = escape(text)
        parts.append(
            f'<text x="{middle}" y="{y}" text-anchor="{anchor}" stroke="#fff" stroke-width="4" '
            f'paint-order="stroke">{label}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])
