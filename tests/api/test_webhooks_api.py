"""/v1/webhooks: one's own deliveries with their tries, replays, and the secret."""

from datetime import UTC, datetime

import pytest
from people_world import people_of
from standardwebhooks import Webhook

DELIVERIES = "/v1/webhooks/deliveries"
HOOK = "https://9.9.9.9/hook"
"""A public address, so that nobody is asked for it; nothing is sent there either."""
BODY = {"engine": "csm", "input": {"text": "Hello."}}


@pytest.fixture
async def people(world):
    """Nothing is sent: what becomes of deliveries is what the tests say."""
    await world.orchestrator.parts.webhooks.aclose()
    return people_of(world)


async def told(someone, url=HOOK):
    """A job that ended, and the delivery that tells of it."""
    made = await someone.http.post("/v1/jobs", json={**BODY, "notify_url": url})
    assert made.status_code == 202, made.text
    job_id = made.json()["id"]
    assert (await someone.http.post(f"/v1/jobs/{job_id}/cancel")).status_code == 200
    (found,) = (await someone.http.get(DELIVERIES, params={"job_id": job_id})).json()["items"]
    return found


async def failed(people, someone):
    """One that was given up."""
    found = await told(someone)
    store, now = people.world.orchestrator.parts.store, people.world.clock.now()
    await store.record_delivery(found["id"], status=500, error="HTTP 500: no", now=now, next_at=None)
    return found["id"]


async def test_a_delivery_is_listed_and_read_with_its_tries(people):
    ada = await people.add("submitter")
    found = await told(ada)
    assert (found["state"], found["tries"], found["owner"]) == ("pending", 0, ada.id)
    assert (found["webhook_id"], found["url"]) == (f"msg_{found['id']}", HOOK)
    store, now = people.world.orchestrator.parts.store, people.world.clock.now()
    await store.record_delivery(found["id"], status=500, error="HTTP 500: no", now=now, next_at=now + 5)
    shown = (await ada.http.get(f"{DELIVERIES}/{found['id']}")).json()
    assert (shown["state"], shown["tries"], shown["last_error"]) == ("pending", 1, "HTTP 500: no")
    (one,) = shown["history"]
    assert (one["status"], one["error"]) == (500, "HTTP 500: no")
    assert datetime.fromisoformat(shown["next_try_at"]) == datetime.fromtimestamp(now + 5, UTC)


async def test_lists_are_in_pages_and_filtered(people):
    ada = await people.add("submitter")
    ids = [(await told(ada))["id"] for _ in range(3)]
    store, now = people.world.orchestrator.parts.store, people.world.clock.now()
    await store.record_delivery(ids[0], status=204, error=None, now=now, next_at=None)
    await store.record_delivery(ids[1], status=500, error="no", now=now, next_at=None)
    for state, number in (("arrived", ids[0]), ("failed", ids[1]), ("pending", ids[2])):
        (only,) = (await ada.http.get(DELIVERIES, params={"state": state})).json()["items"]
        assert (only["id"], only["state"]) == (number, state)
    first = (await ada.http.get(DELIVERIES, params={"limit": 2})).json()
    rest = (await ada.http.get(DELIVERIES, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in (*first["items"], *rest["items"])] == ids
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("query", ["state=lost", "cursor=x", "limit=0", f"job_id={'x' * 101}"])
async def test_a_bad_filter_is_named(people, query):
    ada = await people.add("submitter")
    reply = await ada.http.get(f"{DELIVERIES}?{query}")
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"] == query.split("=", maxsplit=1)[0]


async def test_others_deliveries_do_not_exist(people):
    ada, bob, op = [await people.add(role) for role in ("submitter", "submitter", "operator")]
    number = await failed(people, ada)
    assert (await bob.http.get(DELIVERIES)).json()["items"] == []
    assert (await bob.http.get(f"{DELIVERIES}/{number}")).status_code == 404
    assert (await bob.http.post(f"{DELIVERIES}/{number}/replay")).status_code == 404
    assert (await bob.http.get(DELIVERIES, params={"owner": ada.id})).status_code == 403
    assert (await bob.http.post(f"{DELIVERIES}/replay", json={"owner": ada.id})).status_code == 403
    assert (await bob.http.post(f"{DELIVERIES}/replay", json={})).json() == {"count": 0, "more": False}
    assert [one["id"] for one in (await op.http.get(DELIVERIES)).json()["items"]] == [number]
    assert (await op.http.get(DELIVERIES, params={"owner": bob.id})).json()["items"] == []
    assert (await op.http.post(f"{DELIVERIES}/{number}/replay")).status_code == 202
    assert (await people.nobody.get(DELIVERIES)).status_code == 401


async def test_a_replay_begins_anew_keeps_its_tries_and_is_audited(people):
    ada = await people.add("submitter")
    number = await failed(people, ada)
    reply = await ada.http.post(f"{DELIVERIES}/{number}/replay")
    assert reply.status_code == 202
    shown = reply.json()
    assert (shown["state"], shown["tries"], len(shown["history"])) == ("pending", 0, 1)
    assert shown["webhook_id"] == f"msg_{number}"
    row = await people.audit(what="delivery.replay")
    assert (row.who, row.key_id, row.target) == (f"user:{ada.id}", ada.key.id, str(number))
    assert (await ada.http.post(f"{DELIVERIES}/999/replay")).status_code == 404


async def test_many_that_failed_are_replayed_at_once(people):
    ada, bob = await people.add("submitter"), await people.add("submitter")
    before = await failed(people, ada)
    people.world.clock.advance(100)
    since = datetime.fromtimestamp(people.world.clock.now(), UTC).isoformat()
    later = [await failed(people, ada) for _ in range(60)]
    others = await failed(people, bob)
    await told(ada)
    body = {"state": "failed", "since": since}
    assert (await ada.http.post(f"{DELIVERIES}/replay", json=body)).json() == {"count": 60, "more": False}
    left = [one["id"] for one in (await ada.http.get(DELIVERIES, params={"state": "failed"})).json()["items"]]
    assert left == [before]
    assert (await bob.http.get(f"{DELIVERIES}/{others}")).json()["state"] == "failed"
    assert (await ada.http.get(f"{DELIVERIES}/{later[-1]}")).json()["tries"] == 0


async def test_of_a_job_only_what_it_says_is_replayed(people):
    ada = await people.add("submitter")
    first, _ = await failed(people, ada), await failed(people, ada)
    job_id = (await ada.http.get(f"{DELIVERIES}/{first}")).json()["job_id"]
    reply = await ada.http.post(f"{DELIVERIES}/replay", json={"job_id": job_id})
    assert reply.json()["count"] == 1
    assert (await ada.http.get(f"{DELIVERIES}/{first}")).json()["state"] == "pending"


@pytest.mark.parametrize("body", [{"state": "arrived"}, {"since": "2026-01-01T00:00:00"}, {"until": 1}])
async def test_a_bad_replay_is_refused_and_changes_nothing(people, body):
    ada = await people.add("submitter")
    number = await failed(people, ada)
    reply = await ada.http.post(f"{DELIVERIES}/replay", json=body)
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, next(iter(body)))
    assert (await ada.http.get(f"{DELIVERIES}/{number}")).json()["state"] == "failed"


async def test_a_secret_is_ones_own_and_rotates_with_a_day_of_both(people):
    ada, bob = await people.add("submitter"), await people.add("submitter")
    first = await ada.http.get("/v1/webhooks/secret")
    assert first.headers["cache-control"] == "no-store"
    secret = first.json()["secret"]
    assert Webhook(secret)
    assert (await bob.http.get("/v1/webhooks/secret")).json()["secret"] != secret
    rotated = await ada.http.post("/v1/webhooks/secret/rotate")
    assert (rotated.status_code, rotated.headers["cache-control"]) == (200, "no-store")
    assert rotated.json()["previous"] == secret
    assert rotated.json()["secret"] != secret
    row = await people.audit(who=f"user:{ada.id}")
    assert row.target == ada.id
    assert secret not in repr(row)
    people.world.clock.advance(24 * 3600)
    now = (await ada.http.get("/v1/webhooks/secret")).json()
    assert (now["secret"], now["previous"]) == (rotated.json()["secret"], None)


async def test_a_key_that_only_looks_gets_no_secret_and_replays_nothing(people):
    ada = await people.add("submitter")
    number = await failed(people, ada)
    looks = await people.another_key(ada.user, role="viewer")
    assert (await looks.http.get(f"{DELIVERIES}/{number}")).status_code == 200
    assert (await looks.http.get("/v1/webhooks/secret")).status_code == 403
    assert (await looks.http.post("/v1/webhooks/secret/rotate")).status_code == 403
    assert (await looks.http.post(f"{DELIVERIES}/{number}/replay")).status_code == 403
    assert (await looks.http.post(f"{DELIVERIES}/replay", json={})).status_code == 403


async def test_whoever_calls_without_keys_has_a_secret_too(world):
    first = (await world.http.get("/v1/webhooks/secret")).json()
    rotated = (await world.http.post("/v1/webhooks/secret/rotate")).json()
    assert (rotated["previous"], rotated["secret"] != first["secret"]) == (first["secret"], True)
    assert (await world.http.get("/v1/webhooks/secret")).json() == rotated
