"""HTTP with providers, against a server that misbehaves below HTTP."""

import logging
import socket
import time
import traceback
from dataclasses import replace
from email.utils import formatdate

import pytest
from rough_server import CUT, answer, rough_server

from provider_clients.errors import (
    BadCredentials,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
)
from provider_clients.http import Limits, Pace, ProviderHttp

KEY = "c3_api_very-secret"
LIMITS = Limits(connect_s=10.0, read_s=10.0, total_s=20.0, tries=3, pause_s=0.001, reply_bytes=1000)
QUICK = replace(LIMITS, read_s=0.3, total_s=0.6)
PAGE = "<!DOCTYPE html><html><body>Bad gateway</body></html>"


@pytest.fixture
async def rough():
    async with rough_server() as server:
        yield server


def client(url, key=KEY, limits=LIMITS):
    return ProviderHttp(url, {"X-C3-API-KEY": key}, limits=limits)


@pytest.fixture
async def http(rough):
    made = client(rough.url + "/base")
    yield made
    await made.aclose()


@pytest.fixture
async def hasty(rough):
    """Its limits are soon met."""
    made = client(rough.url, limits=QUICK)
    yield made
    await made.aclose()


async def test_it_decodes_json_and_sends_the_key_and_the_body(rough, http):
    rough.will(answer(200, '{"a": [1]}'))
    assert await http.write("POST", "/x", json={"b": 2}) == {"a": [1]}
    (request,) = rough.heard
    assert request.startswith(b"POST /base/x HTTP/1.1")
    assert b"X-C3-API-KEY: " + KEY.encode() in request
    assert request.endswith(b'{"b":2}')


async def test_an_empty_body_is_none(rough, http):
    rough.will(answer(204), answer(202))
    assert await http.write("DELETE", "/x") is None
    assert await http.write("POST", "/x") is None


async def test_a_body_can_be_of_another_kind(rough, http):
    await http.write("PATCH", "/x", json={}, kind="application/merge-patch+json")
    assert b"application/merge-patch+json" in rough.heard[0]
    assert b"application/json" not in rough.heard[0].split(b"Content-Type", 1)[1]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Rejected),
        (401, BadCredentials),
        (402, Rejected),
        (403, BadCredentials),
        (404, NotFound),
        (408, OutcomeUnknown),
        (409, Rejected),
        (422, Rejected),
        (425, OutcomeUnknown),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
    ],
)
async def test_a_refusal_says_what_to_do_next_in_the_providers_words(rough, http, status, error):
    rough.will(answer(status, '{"message": "that  will\\n not do"}'))
    with pytest.raises(error, match=f"POST /base/x answered {status}: that will not do") as caught:
        await http.write("POST", "/x")
    assert type(caught.value) is error
    if error is Rejected:
        assert caught.value.status == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"detail": "no"}', "no"),
        ('{"title": "no", "errors": {"replicas": ["too many"]}}', r"no \{'replicas': \['too many'\]\}"),
        ('["no"]', r"\['no'\]"),
        ("just words", "just words"),
        ('{"other": 1}', r"\{'other': 1\}"),
        ("x" * 500, "x" * 200 + "$"),
    ],
)
async def test_a_refusal_is_shown_as_well_as_it_can_be(rough, http, body, words):
    rough.will(answer(400, body, "text/plain"))
    with pytest.raises(Rejected, match=words):
        await http.write("POST", "/x")


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 500, 502])
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "TEXT/HTML", "application/json"])
async def test_an_html_page_is_no_answer_under_any_status(rough, http, status, kind):
    rough.will(answer(status, "\n" + PAGE, kind))
    with pytest.raises(OutcomeUnknown, match="HTML page"):
        await http.write("POST", "/x")


@pytest.mark.parametrize("body", ["", "{", "plain", "[" * 900, b"\xff\xfe"])
async def test_what_is_not_json_is_no_answer(rough, http, body):
    rough.will(answer(200, body or "{"))
    with pytest.raises(OutcomeUnknown, match="not JSON"):
        await http.write("POST", "/x")


async def test_a_reply_is_bounded(rough, http):
    rough.will(answer(200, '"' + "x" * 2000 + '"'))
    with pytest.raises(OutcomeUnknown, match="more than 1000 bytes"):
        await http.write("POST", "/x")


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", 30.0),
        ("", 30.0),
        ("inf", 3600.0),
        ("nan", 0.0),
        ("999999", 3600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 30.0),
    ],
)
async def test_a_limit_says_for_how_long(rough, http, asked, seconds):
    rough.will(answer(429, '{"message": "slow"}', Retry_After=asked))
    with pytest.raises(RateLimited) as caught:
        await http.read("GET", "/x")
    assert caught.value.retry_after_s == seconds
    assert len(rough.heard) == 1


async def test_a_limit_may_say_until_when_or_nothing_or_send_a_page(rough, http):
    rough.will(
        answer(429, Retry_After=formatdate(time.time() + 50, usegmt=True)),
        answer(429),
        answer(429, PAGE, "text/html"),
    )
    waits = []
    for _ in range(3):
        with pytest.raises(RateLimited) as caught:
            await http.write("POST", "/x")
        waits.append(caught.value.retry_after_s)
    assert waits == [pytest.approx(50, abs=2), 30.0, 30.0]


async def test_reads_are_repeated_and_writes_never(rough, http):
    rough.will(answer(502, PAGE, "text/html"), CUT, answer(200, "[1]"))
    assert await http.read("POST", "/x") == [1]
    assert len(rough.heard) == 3
    rough.will(answer(500), answer(200, "[1]"))
    with pytest.raises(OutcomeUnknown):
        await http.write("POST", "/x")
    assert len(rough.heard) == 4


async def test_reads_give_up(rough, http):
    rough.will(answer(503, '{"message": "busy"}'))
    with pytest.raises(OutcomeUnknown, match="busy"):
        await http.read("GET", "/x")
    assert len(rough.heard) == 3


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_clear_refusal_of_a_read_is_not_asked_again(rough, http, status):
    rough.will(answer(status, "{}"))
    with pytest.raises(ProviderError):
        await http.read("GET", "/x")
    assert len(rough.heard) == 1


async def test_a_refused_connection_means_that_nothing_was_sent():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    http = client(f"http://127.0.0.1:{port}")
    with pytest.raises(NoCapacity, match="cannot be reached"):
        await http.write("POST", "/x")
    with pytest.raises(OutcomeUnknown, match="cannot be reached"):
        await http.read("GET", "/x")
    await http.aclose()


async def test_a_connection_cut_after_sending_leaves_a_doubt(rough, http):
    rough.will(CUT)
    with pytest.raises(OutcomeUnknown, match="no answer"):
        await http.write("POST", "/x")
    rough.will(answer(200, '{"a": 1}')[:-3])
    with pytest.raises(OutcomeUnknown, match="no answer"):
        await http.write("POST", "/x")


async def test_a_dribbling_body_meets_the_total_limit(rough, hasty):
    rough.dribble_s = 0.05
    rough.will(answer(200, '"' + "x" * 500 + '"'))
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="TimeoutError"):
        await hasty.write("POST", "/x")
    assert 0.5 < time.monotonic() - began < 20


async def test_silence_meets_the_read_limit(rough, hasty):
    rough.dribble_s = 60.0
    with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
        await hasty.write("POST", "/x")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed_and_the_key_goes_nowhere(rough, http, status):
    async with rough_server() as elsewhere:
        rough.will(answer(status, Location=elsewhere.url + "/x"))
        with pytest.raises(OutcomeUnknown, match="a redirect"):
            await http.write("POST", "/x")
        with pytest.raises(OutcomeUnknown, match="a redirect"):
            await http.read("GET", "/x")
        assert not await http.answers(rough.url, total_s=1.0)
        assert elsewhere.heard == []


@pytest.mark.parametrize("url", ["api.example.com", "ftp://api.example.com"])
async def test_what_is_no_address_says_so(url):
    http = client(url)
    with pytest.raises(NoCapacity, match="cannot be reached"):
        await http.write("POST", "/x")
    await http.aclose()


async def test_a_path_that_is_none_is_rejected(http):
    with pytest.raises(Rejected):
        await http.write("POST", "/a\nb")


async def test_answers_asks_once_and_wants_just_200(rough, http):
    rough.will(answer(200, PAGE, "text/html"), answer(204), answer(502), CUT)
    assert [await http.answers(rough.url, total_s=10.0) for _ in range(4)] == [True, False, False, False]
    assert all(b"GET / " in one and KEY.encode() in one for one in rough.heard)
    assert not await http.answers("https://not a name/", total_s=1.0)
    rough.dribble_s = 60.0
    assert not await http.answers(rough.url, total_s=0.1)


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY}\u00fc"])
async def test_a_key_that_no_header_may_carry_is_named_and_not_shown(rough, key):
    http = client(rough.url, key)
    with pytest.raises(BadCredentials, match="X-C3-API-KEY") as caught:
        await http.read("GET", "/x")
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert not await http.answers(rough.url, total_s=1.0)
    assert rough.heard == []
    await http.aclose()


async def test_a_key_may_end_with_a_line(rough):
    http = client(rough.url, KEY + "\n")
    await http.read("GET", "/x")
    assert f"X-C3-API-KEY: {KEY}\r\n".encode() in rough.heard[0]
    await http.aclose()


async def test_no_message_and_no_log_shows_the_key(rough, caplog):
    caplog.set_level(logging.DEBUG)
    http = ProviderHttp(rough.url, {"Authorization": f"Bearer {KEY}", "Salad-Api-Key": KEY}, limits=LIMITS)
    rough.will(
        answer(401, f'{{"message": "the key {KEY} is wrong"}}'),
        answer(500, f"{KEY}", "text/plain"),
        answer(429),
        CUT,
        answer(200, f"<html>{KEY}", "text/html"),
        answer(200, KEY),
    )
    shown = ""
    for _ in range(6):
        with pytest.raises(ProviderError) as caught:
            await http.write("POST", "/x", json={"a": 1})
        shown += "".join(traceback.format_exception(caught.value))
    assert "the key *** is wrong" in shown
    assert KEY not in shown + caplog.text
    await http.aclose()


def test_the_pace_lets_a_burst_through_and_then_holds():
    now = [0.0]
    pace = Pace(240, clock=lambda: now[0])
    assert [pace.reserve() for _ in range(42)] == pytest.approx([*[0.0] * 40, 0.3, 0.6])
    now[0] = 60.0
    assert [pace.reserve() for _ in range(41)] == pytest.approx([*[0.0] * 40, 0.3])


@pytest.mark.parametrize("pause_s", [0.0, 30.0])
def test_the_pace_keeps_240_in_any_minute(pause_s):
    now, sent = [0.0], []
    pace = Pace(240, clock=lambda: now[0])
    while now[0] < 600:
        if len(sent) % 300 == 299:
            now[0] += pause_s
        now[0] += pace.reserve()
        sent.append(now[0])
    assert max(sum(at <= one < at + 60 for one in sent) for at in sent) <= 240
    assert len(sent) > (10 if pause_s == 0.0 else 8) * 200


async def test_nobody_waits_for_the_pace_for_ever():
    now = [0.0]
    pace = Pace(6, wait_s_max=13.0, clock=lambda: now[0])
    pace.reserve()
    pace.reserve()
    for _ in range(3):
        with pytest.raises(RateLimited, match="our own 6 calls a minute") as caught:
            await pace.wait()
        assert caught.value.retry_after_s == pytest.approx(24.0)


async def test_calls_keep_the_pace(rough):
    http = ProviderHttp(rough.url, {}, per_minute=60, limits=QUICK)
    began = time.monotonic()
    for _ in range(11):
        await http.read("GET", "/x")
    assert time.monotonic() - began >= 1.0
    await http.aclose()
