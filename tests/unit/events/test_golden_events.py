"""Records as they stand in logs: these bytes must be readable for ever.

A line here is never changed.  When a schema changes, its new version goes to
`schemas/history`, and a line with the bytes of the new version goes below the old one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.events.codec import decode, encode
from streams.events.records import (
    Ack,
    Bind,
    BindPattern,
    Close,
    Configure,
    Delete,
    Event,
    Lease,
    Message,
    Nack,
    Open,
    Origin,
    Purge,
    Routed,
    Tick,
    Touch,
    Unbind,
    UnbindPattern,
)

AT = 1_700_000_000_000

ROUTED = Routed(
    7,
    (1, 3),
    b"\1\0",
    ("g", "h"),
    ("q", "r"),
    ("", "s"),
    (2, 2),
    (0, 1),
    (b"m", b"m"),
    (("q", "r"), ("s",)),
)

CURRENT: list[tuple[Event, str]] = [
    (
        Bind("group", "queue", at=AT),
        "c301fef27189a29124fe0a67726f75700a71756575650080a0abfef9620000",
    ),
    (
        Bind("部屋", "queue", "session", AT, Origin(3, 1 << 40, 2, (1 << 63) - 1), "older"),
        "c301fef27189a29124fe0ce983a8e5b18b0a7175657565020e73657373696f6e80a0abfef962020680808080804004feffffffffffffffff01020a6f6c646572",
    ),
    (
        Unbind("group", "queue", "session", AT),
        "c30187938fbd91900b2a0a67726f75700a7175657565020e73657373696f6e80a0abfef96200",
    ),
    (
        Unbind("group", "queue", None, AT, Origin(0, 0, 0)),
        "c30187938fbd91900b2a0a67726f75700a71756575650080a0abfef9620200000000",
    ),
    (
        Ack("queue", upto=1 << 44, at=AT),
        "c301d7fa56709b7c7d3c0a717565756502808080808080080080a0abfef962",
    ),
    (
        Ack("queue", seqs=(4096, 4097), at=AT),
        "c301d7fa56709b7c7d3c0a71756575650004804082400080a0abfef962",
    ),
    (
        Close("queue", "session", AT),
        "c30110b7007aba4ba9b60a71756575650e73657373696f6e80a0abfef962",
    ),
    (
        replace(ROUTED, log=(1 << 62) + 5),
        "c301f1ed53825b4f52e00e040206000401000867006800087100720006007300040404000400020004026d026d0004087100720004730000008a808080808080808001",
    ),
    (
        Message("id", "group", "sender", body=b"\x00\xff", at=AT),
        "c301379eab4e3d18790e0469640a67726f75700c73656e6465720874657874000400ff80a0abfef962000101000800",
    ),
    (
        Message("id", "@queue", "", "vote", {"a": "b"}, b"", AT, AT + 1, False, False, True, 9),
        "c301379eab4e3d18790e0469640c4071756575650008766f74650202610262000080a0abfef9620282a0abfef9620000011200",
    ),
    (
        Message("id", "g", "q", "receipt", at=AT, origin=Origin(3, 1 << 40, 2, (1 << 63) - 1)),
        "c301379eab4e3d18790e046964026702710e72656365697074000080a0abfef9620001010008020680808080804004feffffffffffffffff01",
    ),
    (
        Open("queue", "session", ("a", "b"), AT),
        "c301470ad5b2f4ad2dd50a71756575650e73657373696f6e04026102620080a0abfef9620001",
    ),
    (
        Open("queue", "session", (), AT, 30_000, False),
        "c301470ad5b2f4ad2dd50a71756575650e73657373696f6e0080a0abfef96202e0d40300",
    ),
    (
        Touch("queue", "session", AT),
        "c3019ab5115c84b92fc80a71756575650e73657373696f6e80a0abfef962",
    ),
    (
        Configure("queue", at=AT),
        "c301692ca122931699130a717565756500001664726f705f6f6c646573740000000080a0abfef9620000000000",
    ),
    (
        Configure(
            "queue",
            10,
            1 << 20,
            "reject",
            5,
            "dead",
            30_000,
            3_600_000,
            AT,
            60_000,
            "{}",
            True,
            "room",
            True,
        ),
        "c301692ca122931699130a7175657565021402808080010c72656a656374020a02086465616402e0d4030280bab70380a0abfef96202c0a90702047b7d010208726f6f6d01",
    ),
    (
        Lease("queue", "worker", 10, 60_000, AT),
        "c3019172148f2f09dc6a0a71756575650c776f726b65721402c0a90780a0abfef962",
    ),
    (
        Nack("queue", (4097,), "extend", 1_000, "worker", AT),
        "c3016c3a307fadca57400a7175657565028240000c657874656e64d00f020c776f726b657280a0abfef962",
    ),
    (
        Purge("queue", AT),
        "c3019b89d2de932db31d0a717565756580a0abfef962",
    ),
    (
        Delete("queue", AT),
        "c301e3b8437c848cb0510a717565756580a0abfef962",
    ),
    (
        Tick(AT),
        "c301156cabbe1148d76880a0abfef962",
    ),
    (
        BindPattern("group", "queue", "a.*.#", AT),
        "c301fee047ca93fc62930a67726f75700a71756575650a612e2a2e2380a0abfef96200",
    ),
    (
        BindPattern("g", "q", "a", AT, Origin(3, 1 << 40, 2, (1 << 63) - 1)),
        "c301fee047ca93fc629302670271026180a0abfef962020680808080804004feffffffffffffffff01",
    ),
    (
        UnbindPattern("部屋", "queue", "", AT),
        "c3017883ac95a0ae58310ce983a8e5b18b0a71756575650080a0abfef96200",
    ),
]

OLDER: list[tuple[Event, str]] = [
    (
        Configure("queue", at=AT),
        "c3016cafa0425a31f5520a717565756500001664726f705f6f6c646573740000000080a0abfef962000000",
    ),
    (
        Configure(
            "queue", 10, 1 << 20, "reject", 5, "dead", 30_000, 3_600_000, AT, 60_000, "{}", True
        ),
        "c3016cafa0425a31f5520a7175657565021402808080010c72656a656374020a02086465616402e0d4030280bab70380a0abfef96202c0a90702047b7d01",
    ),
    (
        Configure("queue", at=AT),
        "c3010556c7bacd3de1200a717565756500001664726f705f6f6c646573740000000080a0abfef96200",
    ),
    (
        Configure("queue", 10, 1 << 20, "reject", 5, "dead", 30_000, 3_600_000, AT, 60_000),
        "c3010556c7bacd3de1200a7175657565021402808080010c72656a656374020a02086465616402e0d4030280bab70380a0abfef96202c0a907",
    ),
    (
        Configure("queue", at=AT),
        "c3015ebf83699f0149d40a717565756500001664726f705f6f6c646573740000000080a0abfef962",
    ),
    (
        Configure("queue", 10, 1 << 20, "reject", 5, "dead", 30_000, 3_600_000, AT),
        "c3015ebf83699f0149d40a7175657565021402808080010c72656a656374020a02086465616402e0d4030280bab70380a0abfef962",
    ),
    (
        Bind("group", "queue", at=AT),
        "c30110eca3487949743a0a67726f75700a71756575650080a0abfef9620000",
    ),
    (
        Bind("部屋", "queue", "session", AT, Origin(3, 1 << 40, 2), "older"),
        "c30110eca3487949743a0ce983a8e5b18b0a7175657565020e73657373696f6e80a0abfef962020680808080804004020a6f6c646572",
    ),
    (
        Unbind("group", "queue", "session", AT),
        "c3015e364cb1e0f3f08a0a67726f75700a7175657565020e73657373696f6e80a0abfef96200",
    ),
    (
        Unbind("group", "queue", None, AT, Origin(0, 0, 0)),
        "c3015e364cb1e0f3f08a0a67726f75700a71756575650080a0abfef96202000000",
    ),
    (
        ROUTED,
        "c30183104a64829a59860e040206000401000867006800087100720006007300040404000400020004026d026d000408710072000473000000",
    ),
    (
        Message("id", "group", "sender", body=b"\x00\xff", at=AT),
        "c3014b9131660b0ee8790469640a67726f75700c73656e6465720874657874000400ff80a0abfef962000101000800",
    ),
    (
        Message("id", "@queue", "", "vote", {"a": "b"}, b"", AT, AT + 1, False, False, True, 9),
        "c3014b9131660b0ee8790469640c4071756575650008766f74650202610262000080a0abfef9620282a0abfef9620000011200",
    ),
    (
        Message("id", "g", "q", "receipt", at=AT, origin=Origin(3, 1 << 40, 2)),
        "c3014b9131660b0ee879046964026702710e72656365697074000080a0abfef9620001010008020680808080804004",
    ),
    (
        ROUTED,
        "c3017b1cf71c68a776b20e040206000401000867006800087100720006007300040404000400020004026d026d0004087100720004730000",
    ),
    (
        Bind("group", "queue", "session", AT),
        "c301ee3ff3458a38e56d0a67726f75700a7175657565020e73657373696f6e80a0abfef962",
    ),
    (
        Unbind("group", "queue", at=AT),
        "c301c370797d7d2995780a67726f75700a71756575650080a0abfef962",
    ),
    (
        Message("id", "group", "sender", body=b"\x00\xff", at=AT),
        "c301411ec5a559805b8a0469640a67726f75700c73656e6465720874657874000400ff80a0abfef9620001",
    ),
    (
        Message("id", "@queue", "", "vote", {"a": "b"}, b"", AT, AT + 1, False),
        "c301411ec5a559805b8a0469640c4071756575650008766f74650202610262000080a0abfef9620282a0abfef96200",
    ),
    (
        Open("queue", "session", ("a", "b"), AT),
        "c30148faeb7edc15c8a60a71756575650e73657373696f6e04026102620080a0abfef962",
    ),
]


@pytest.mark.parametrize(("record", "written"), CURRENT)
def test_records_are_written_so(record: Event, written: str) -> None:
    assert encode(record).hex() == written
    assert decode(bytes.fromhex(written)) == record


@pytest.mark.parametrize(("record", "written"), OLDER)
def test_records_of_older_versions_are_read(record: Event, written: str) -> None:
    assert decode(bytes.fromhex(written)) == record
    assert encode(record).hex() != written
