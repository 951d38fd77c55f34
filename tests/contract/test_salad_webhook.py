"""Signed news of jobs: the published vector, and everything that must not be believed."""

import base64
import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from provider_clients.salad.webhook import WebhookRefused, verify

# A vector with a dummy key (the bytes 0 to 31), made apart from this project.
SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER = base64.b64encode(bytes(range(32, 64))).decode()
NOW = 1700000000.0
HEADERS = {
    "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    "webhook-timestamp": "1700000000",
    "webhook-signature": "v1,KCkV1x7J1KzxigjHtZUhoXPGGgjqI4njY1eifDW7QHU=",
}
DATA = {
    "id": "8aa0ad51-5eb7-48f3-8dbd-58e5155ee86b",
    "organization_name": "acme",
    "project_name": "render",
    "queue_name": "portrait",
    "input": {"image_url": "https://example.com/a.png"},
    "metadata": {"job_id": "my-id"},
    "output": {"ok": True},
    "status": "succeeded",
    "events": [
        {"type": "created", "time": "2025-03-27T12:47:16.3072321Z"},
        {"type": "started", "time": "2025-03-27T12:47:16.4216944Z"},
        {"type": "succeeded", "time": "2025-03-27T12:48:07.3658267Z"},
    ],
    "create_time": "2025-03-27T12:47:16.3072321Z",
    "update_time": "2025-03-27T12:48:07.3658267Z",
    "webhook": "https://hooks.example.com/salad",
}
MESSAGE = {"type": "queue.job.succeeded", "timestamp": "2025-03-27T12:48:07.3658267Z", "data": DATA}
BODY = json.dumps(MESSAGE, separators=(",", ":")).encode()


def signed(message, secret=SECRET):
    text = message if isinstance(message, str) else json.dumps(message)
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(NOW, UTC), text)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": "1700000000", "Webhook-Signature": signature}
    return headers, text.encode()


def test_the_vector_is_believed():
    news = verify(HEADERS, BODY, [SECRET], NOW)
    assert (news.job_id, news.queue, news.status) == (DATA["id"], "portrait", "succeeded")
    assert [one.action for one in news.events] == ["created", "started", "succeeded"]
    assert verify(HEADERS, BODY, [f"whsec_{SECRET}"], NOW) == news


@pytest.mark.parametrize("secrets", [[OTHER, SECRET], [SECRET, OTHER]])
def test_while_secrets_are_rotated_both_are_good(secrets):
    assert verify(HEADERS, BODY, secrets, NOW).status == "succeeded"


def test_one_of_several_signatures_is_enough():
    several = f"v1a,notours v1,{OTHER} {HEADERS['webhook-signature']}"
    assert verify({**HEADERS, "webhook-signature": several}, BODY, [SECRET], NOW).queue == "portrait"


@pytest.mark.parametrize("drift_s", [-300, 300])
def test_five_minutes_are_allowed(drift_s):
    assert verify(HEADERS, BODY, [SECRET], NOW + drift_s).queue == "portrait"


@pytest.mark.parametrize(
    ("headers", "body", "secrets", "now"),
    [
        (HEADERS, BODY, [SECRET], NOW + 301),
        (HEADERS, BODY, [SECRET], NOW - 301),
        (HEADERS, BODY, [OTHER], NOW),
        (HEADERS, BODY, [], NOW),
        (HEADERS, BODY, [""], NOW),
        (HEADERS, BODY, ["whsec_"], NOW),
        (HEADERS, BODY, ["no base64 é"], NOW),
        (HEADERS, BODY + b" ", [SECRET], NOW),
        (HEADERS, b"\xff\xfe", [SECRET], NOW),
        (HEADERS, b"", [SECRET], NOW),
        ({}, BODY, [SECRET], NOW),
        ({**HEADERS, "webhook-id": "msg_other"}, BODY, [SECRET], NOW),
        ({**HEADERS, "webhook-timestamp": "1700000001"}, BODY, [SECRET], NOW),
        ({**HEADERS, "webhook-timestamp": "nan"}, BODY, [SECRET], NOW),
        ({**HEADERS, "webhook-timestamp": "9" * 30}, BODY, [SECRET], NOW),
        ({**HEADERS, "webhook-signature": ""}, BODY, [SECRET], NOW),
        ({**HEADERS, "webhook-signature": "v1"}, BODY, [SECRET], NOW),
        ({**HEADERS, "webhook-signature": "v1,é"}, BODY, [SECRET], NOW),
        ({**HEADERS, "webhook-signature": "v2," + HEADERS["webhook-signature"][3:]}, BODY, [SECRET], NOW),
    ],
)
def test_everything_else_is_refused(headers, body, secrets, now):
    with pytest.raises(WebhookRefused):
        verify(headers, body, secrets, now)


@pytest.mark.parametrize(
    "message",
    [
        "not json",
        "[]",
        {},
        {**MESSAGE, "type": "inference_endpoint.job.succeeded"},
        {**MESSAGE, "data": None},
        {**MESSAGE, "data": {**DATA, "status": "mislaid"}},
    ],
)
def test_what_is_signed_but_no_news_is_refused(message):
    headers, body = signed(message)
    with pytest.raises(WebhookRefused):
        verify(headers, body, [SECRET], NOW)


def test_words_and_fields_may_differ():
    events = [{"action": "cancelled", "time": "2025-03-27T12:47:16.3072321Z", "new": 1}, {"type": "created"}]
    data = {"id": "j", "status": "canceled", "events": events, "more": {}}
    news = verify(*signed({"type": "queue.job.canceled", "data": data, "v": 2}), [SECRET], NOW)
    assert (news.job_id, news.queue, news.status) == ("j", None, "cancelled")
    assert [one.action for one in news.events] == ["cancelled", "created"]
