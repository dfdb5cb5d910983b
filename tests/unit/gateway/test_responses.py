"""Error responses, the publish budget, bodies as text, and readiness."""

import json

import pytest

from streams.errors import InvalidId, SettingsError, TooLarge, Unavailable
from streams.gateway.http.connection import _FULL
from streams.gateway.http.errors import HTTPError, busy, to_http_error
from streams.gateway.http.responses import error_response
from streams.gateway.reads.deliveries import text_of
from streams.gateway.writes.admission import FLAT_BYTES, Admission, Share


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (Unavailable("away", 1.2), 503, "unavailable", "2"),
        (Unavailable("away", 0), 503, "unavailable", "1"),
        (TooLarge("big"), 413, "too_large", None),
        (InvalidId("wrong"), 400, "bad_id", None),
        (busy("full"), 429, "busy", "1"),
    ],
)
def test_each_error_has_its_response(
    error: Exception, status: int, code: str, retry_after: str | None
) -> None:
    answer = error_response(to_http_error(error))  # type: ignore[arg-type]
    assert answer.status == status
    assert answer.headers.get("Retry-After") == retry_after
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {"error": {"code": code, "message": str(error)}}


def test_an_internal_error_reveals_nothing() -> None:
    refusal = to_http_error(SettingsError("secret"))
    assert refusal.status == 500
    assert "secret" not in str(refusal)


def test_the_503_over_the_connection_limit_is_well_formed() -> None:
    head, _, body = _FULL.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["error"]["code"] == "unavailable"


def test_a_publish_over_the_budget_is_refused_until_others_end() -> None:
    # Given room for two requests
    admission = Admission(2 * FLAT_BYTES)
    with Share(admission), Share(admission) as second:
        # When there is one byte more, or a third request
        for over in (lambda: second.take(1), Share(admission).__enter__):
            with pytest.raises(HTTPError) as refused:
                over()
            # Then it is told to come again
            assert refused.value.status == 429
    # and once they are done there is room again
    with Share(admission) as share:
        share.take(FLAT_BYTES)


@pytest.mark.parametrize("body", [b"", b"a\tb\r\n", "жé😀".encode(), b'"\\'])
def test_text_is_shown_as_text(body: bytes) -> None:
    assert text_of(body) == body.decode()


@pytest.mark.parametrize(
    "body", [b"\xff", b"a\0", b"\x1b[1m", b"\x7f", "\ud800".encode("utf-8", "surrogatepass")]
)
def test_other_bytes_are_not_shown_as_text(body: bytes) -> None:
    assert text_of(body) is None
