"""Routing, and the decoding of paths and query parameters."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.gateway.http.errors import HTTPError
from streams.gateway.http.paths import (
    decode_query,
    decode_segment,
    integer,
    seconds,
    split_target,
)
from streams.gateway.http.routing import HTTPRoute, Resource, Router
from streams.gateway.routes import ROUTES

ROUTER = Router(ROUTES)


def test_an_id_with_a_slash_stays_one_segment() -> None:
    # Given a path whose ids hold a slash, a percent sign and a plus
    path = "/v1/groups/a%2Fb/queues/50%25%2B"

    # When it is looked up
    route, segments = ROUTER.find(path)

    # Then the slash did not split it, and each id decodes once
    assert route.template == "/v1/groups/{group}/queues/{queue}"
    assert decode_segment("group", segments["group"]) == "a/b"
    assert decode_segment("queue", segments["queue"]) == "50%+"


@given(st.text(min_size=1, max_size=40).filter(lambda text: not text.startswith("\ud800")))
def test_any_text_survives_its_encoding(text: str) -> None:
    try:
        encoded = quote(text, safe="")
    except UnicodeEncodeError:
        return
    _, segments = ROUTER.find(f"/v1/queues/{encoded}/messages")
    assert decode_segment("queue", segments["queue"]) == text
    assert decode_query(urlencode({"after": text}), ("after",)) == {"after": text}


@given(st.text(max_size=60))
def test_any_target_is_decoded_or_refused(target: str) -> None:
    path, query = split_target(target)
    status = 400
    try:
        _, segments = ROUTER.find("/v1/queues/" + path)
        for name, segment in segments.items():
            decode_segment(name, segment)
        decode_query(query, ("after",))
    except HTTPError as refusal:
        status = refusal.status
    assert status in (400, 404)


def test_raw_bytes_of_utf8_are_understood_and_others_refused() -> None:
    # The server hands on bytes that are not UTF-8 as lone surrogates.
    assert decode_segment("group", "ж") == "ж"
    with pytest.raises(HTTPError) as refused:
        decode_segment("group", "\udcff")
    assert refused.value.status == 400


@pytest.mark.parametrize("segment", ["%", "%2", "%zz", "a%", "%ff", "%C3%28"])
def test_broken_escapes_are_refused(segment: str) -> None:
    with pytest.raises(HTTPError) as refused:
        decode_segment("group", segment)
    assert (refused.value.status, refused.value.code) == (400, "bad_id")


@pytest.mark.parametrize(
    "path", ["", "//", "/v1", "/v1/groups/a", "/v1/groups/a/queues/", "/v1/groups/a/queues/b/c"]
)
def test_other_paths_are_not_found(path: str) -> None:
    if path == "/v1/groups/a/queues/":
        # an empty id, which the route refuses by itself
        assert ROUTER.find(path)[1]["queue"] == ""
        return
    with pytest.raises(HTTPError) as refused:
        ROUTER.find(path)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("target", "split"),
    [
        ("/a?b=1#c", ("/a", "b=1")),
        ("/a#b?c", ("/a", "")),
        ("http://host:1/a%2Fb?c", ("/a%2Fb", "c")),
        ("HTTP://host", ("/", "")),
        ("http://host?a=1", ("/", "a=1")),
        ("*", ("*", "")),
        ("ftp://host/a", ("ftp://host/a", "")),
    ],
)
def test_a_target_is_split(target: str, split: tuple[str, str]) -> None:
    assert split_target(target) == split


def test_allow_lists_the_methods_of_a_path() -> None:
    assert Resource("/x", {"GET": 1}).allow == "GET, HEAD, OPTIONS"
    assert Resource("/x", {"PUT": 1, "DELETE": 1}).allow == "DELETE, OPTIONS, PUT"


def test_routes_are_grouped_by_path() -> None:
    router = Router(
        [HTTPRoute("GET", "/x/{id}", 1), HTTPRoute("GET", "/y", 2), HTTPRoute("PUT", "/x/{id}", 3)]
    )

    resource, segments = router.find("/x/a")

    assert (resource.handlers, segments) == ({"GET": 1, "PUT": 3}, {"id": "a"})
    assert resource.handler("HEAD") == ("GET", 1)
    with pytest.raises(HTTPError) as refused:
        resource.handler("POST")
    assert refused.value.status == 405
    assert refused.value.headers["Allow"] == "GET, HEAD, OPTIONS, PUT"
    with pytest.raises(ValueError, match="two handlers"):
        Router([HTTPRoute("GET", "/x", 1), HTTPRoute("GET", "/x", 2)])


@pytest.mark.parametrize(
    "query", ["b=1", "a=1&a=2", "a=%zz", "a=%ff", "a=\udcff", "&".join(["a=1"] * 40)]
)
def test_wrong_queries_are_refused(query: str) -> None:
    with pytest.raises(HTTPError) as refused:
        decode_query(query, ("a",))
    assert (refused.value.status, refused.value.code) == (400, "bad_parameter")


def test_a_parameter_without_a_value_counts_as_absent() -> None:
    assert decode_query("after=&limit=5&wait", ("after", "limit", "wait")) == {"limit": "5"}
    for wrong in ("after=&after=1", "after=1&after=", "before="):
        with pytest.raises(HTTPError):
            decode_query(wrong, ("after",))


@pytest.mark.parametrize("text", ["", "-1", "1.5", "11", "x", "٣", "1" * 5000, "0x1", " 1"])
def test_invalid_integers_are_refused(text: str) -> None:
    assert integer({"n": "10"}, "n", 5, 0, 10) == 10
    assert integer({}, "n", 5, 0, 10) == 5
    with pytest.raises(HTTPError):
        integer({"n": text}, "n", 5, 0, 10)


@pytest.mark.parametrize("text", ["", "-1", "61", "nan", "inf", "1e1", "1.", ".5", "60.001"])
def test_seconds_are_bounded(text: str) -> None:
    assert seconds({"wait": "0.25"}, "wait", 60) == 0.25
    assert seconds({}, "wait", 60) == 0
    with pytest.raises(HTTPError):
        seconds({"wait": text}, "wait", 60)
