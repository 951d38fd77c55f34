"""What webhooks decide with: the schedule, the signature, the breaker, the lanes."""

import base64
import json
import random
import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from orchestrator.store.people import User
from orchestrator.store.rows import Delivery
from orchestrator.webhooks.breaker import OPEN_S_MAX, OPEN_S_MIN, SILENT_MAX, Breaker
from orchestrator.webhooks.lanes import FORGOTTEN_S, PER_HOST_MAX, TOTAL_MAX, WAITING_MAX, Lanes, host_of
from orchestrator.webhooks.payload import encode
from orchestrator.webhooks.schedule import JITTER, Schedule
from orchestrator.webhooks.sign import BOTH_S, secret_of, secrets_of, signed_headers

DICE = random.Random(7)


def test_the_seeds_five_tries_and_then_the_tail():
    schedule = Schedule(5.0, (60.0, 3600.0))
    least = (5.0, 5.0, 5.0, 5.0, 60.0, 3600.0)
    for tries, wait_s in enumerate(least, 1):
        assert wait_s <= schedule.wait_s(tries, DICE) <= wait_s * (1 + JITTER)
    assert schedule.wait_s(len(least) + 1, DICE) is None
    assert Schedule().wait_s(5, DICE) is None
    assert (schedule.tries_max, Schedule().tries_max) == (7, 5)


def test_the_library_verifies_exactly_what_is_sent():
    secret, body = secret_of(b"deployment", "u-1", 3), encode({"id": "x", "text": "Füße \ud800 \x00"})
    headers = signed_headers("msg_7", body, [secret], time.time())
    assert Webhook(secret).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, {**headers, "webhook-id": "msg_8"})
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of(b"deployment", "u-2", 3)).verify(body, headers)


def test_the_manuals_code_verifies_too():
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    (code,) = [one for one in page.split("```python\n")[1:] if "def is_ours" in one]
    manual = {}
    exec(code.split("```")[0], manual)
    new, old, other = (secret_of(b"deployment", "u-1", version) for version in (2, 1, 0))
    headers = signed_headers("msg_7", b"{}", [new, old], time.time())
    assert [manual["is_ours"](one, headers, b"{}") for one in (new, old, other)] == [True, True, False]
    assert not manual["is_ours"](new, headers, b"{} ")
    assert not manual["is_ours"](new, signed_headers("msg_7", b"{}", [new], time.time() - 301), b"{}")


def test_every_user_and_every_rotation_has_a_secret_of_its_own():
    given = [(b"a", "u", 1), (b"b", "u", 1), (b"a", "v", 1), (b"a", "u", 2), (b"a", "1:u", 1), (b"a", "", 1)]
    secrets = {secret_of(*one) for one in given}
    assert len(secrets) == len(given)
    assert {len(base64.b64decode(one.removeprefix("whsec_"))) for one in secrets} == {32}


def test_two_secrets_sign_for_a_day_after_a_rotation():
    user = User("u", "U", "submitter", 0.0, webhook_version=4, webhook_rotated_at=1000.0)
    newest, before = secret_of(b"d", "u", 4), secret_of(b"d", "u", 3)
    assert secrets_of(b"d", user, 1000.0 + BOTH_S - 1) == (newest, before)
    assert secrets_of(b"d", user, 1000.0 + BOTH_S) == (newest,)


def silent(breaker, now, times=SILENT_MAX):
    for _ in range(times):
        breaker.unanswered(now)


def test_eight_silent_sends_in_a_row_open_it():
    breaker = Breaker()
    silent(breaker, 0.0, SILENT_MAX - 1)
    breaker.answered()
    silent(breaker, 0.0, SILENT_MAX - 1)
    assert breaker.sends_max(0.0, 4) == 4
    breaker.unanswered(0.0)
    assert breaker.sends_max(OPEN_S_MIN - 0.1, 4) == 0


def test_it_lets_one_probe_through_and_doubles_its_time_up_to_a_bound():
    breaker, now, waits = Breaker(), 0.0, []
    silent(breaker, now)
    for _ in range(8):
        silent(breaker, now, 3)  # What was on its way when it opened.
        waits.append(breaker.until - now)
        now = breaker.until
        assert breaker.sends_max(now, 4) == 1
        breaker.unanswered(now)
    assert waits[:3] == [OPEN_S_MIN, 2 * OPEN_S_MIN, 4 * OPEN_S_MIN]
    assert waits[-1] == OPEN_S_MAX
    breaker.answered()
    assert (breaker.sends_max(now, 4), breaker.silent) == (4, 0)


def deliveries(host, first=0, count=WAITING_MAX):
    return [Delivery(number, "j", f"https://{host}/x", 0, 0.0) for number in range(first, first + count)]


def begun(lanes, now=0.0):
    found = []
    while one := lanes.begin(now):
        found.append(one)
    return found


def test_hosts_take_turns_within_their_bounds():
    lanes = Lanes()
    for number in range(10):
        assert lanes.take(deliveries(f"h{number}", 1000 * number), 0.0) == []
    first = begun(lanes)
    assert len(first) == TOTAL_MAX
    assert {lane.sending for lane in lanes} == {TOTAL_MAX // 10}
    lanes.end(first[0][0])
    (after,) = begun(lanes)
    assert after[0] is first[0][0], "the one with the fewest on their way"


def test_a_host_has_four_at_once_and_a_lane_that_ends():
    lanes = Lanes()
    (left,) = lanes.take(deliveries("one.example", count=WAITING_MAX + 3), 0.0)
    assert [one.id for one in left.deliveries] == [WAITING_MAX, WAITING_MAX + 1, WAITING_MAX + 2]
    assert len(begun(lanes)) == PER_HOST_MAX
    assert len(lanes.in_hand) == WAITING_MAX


def test_an_open_circuit_takes_nothing_and_is_not_forgotten_at_once():
    lanes = Lanes()
    lane = lanes.of(deliveries("dead.example")[0])
    silent(lane.breaker, 0.0)
    (left,) = lanes.take(deliveries("dead.example"), 1.0)
    assert (left.lane, len(left.deliveries), begun(lanes)) == (lane, WAITING_MAX, [])
    lanes.forget(FORGOTTEN_S)
    assert list(lanes) == [lane]
    lanes.forget(FORGOTTEN_S + 1)
    assert list(lanes) == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.COM/a", "example.com"),
        ("http://me:secret@example.com:81/a?b", "example.com:81"),
        ("http://[::1]:80/", "[::1]:80"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_a_lane_is_a_host_and_a_port(url, host):
    assert host_of(url) == host
