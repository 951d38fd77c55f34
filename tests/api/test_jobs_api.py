"""/v1/jobs as a client uses it, right and wrong."""

import asyncio

import pytest

from scaling.states import JobState

STATES = set(JobState)


async def test_a_job_is_accepted_run_and_answered(world):
    job = await world.submit()
    agent = await world.agent()
    assigned = await agent.claim()
    assert assigned["job_id"] == job["id"]
    assert (await world.http.get(f"/v1/jobs/{job['id']}")).json()["status"] == "running"
    assert (await agent.finish(assigned)).status_code == 200
    shown = (await world.http.get(f"/v1/jobs/{job['id']}")).json()
    assert shown["status"] == "succeeded"
    assert shown["result"]["backend"] == "test"
    assert (await world.http.get(f"/v1/jobs/{job['id']}/result")).json()["text"] == "done"
    moves = (await world.http.get(f"/v1/jobs/{job['id']}/events")).json()["items"]
    assert [move["after"] for move in moves if move["after"] in STATES] == ["queued", "running", "succeeded"]


async def test_submit_says_where_the_job_is(world):
    reply = await world.http.post("/v1/jobs", json={"engine": "csm", "input": {"text": "Hi."}})
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": {}}, "engine"),
        ({"engine": "nonesuch", "input": {}}, "engine"),
        ({"engine": "csm", "input": {"text": "a", "monologue": ["b"]}}, "input"),
        ({"engine": "csm", "input": {"text": "a", "temperature": 3}}, "input.temperature"),
        ({"engine": "csm", "input": {"text": "a", "colour": "red"}}, "input.colour"),
        ({"engine": "csm", "input": {"text": "a"}, "max_time": 59}, "max_time"),
        ({"engine": "csm", "input": {"text": "a"}, "max_time": 7201}, "max_time"),
        ({"engine": "csm", "input": {"text": "a"}, "complete_in": 59}, "complete_in"),
        ({"engine": "csm", "input": {"text": "a"}, "priority": 101}, "priority"),
        ({"engine": "csm", "input": {"text": "a"}, "notify_url": "http://127.0.0.1:9/x"}, "notify_url"),
        ({"engine": "csm", "input": {"text": "a"}, "notify_url": "ftp://example.com/x"}, "notify_url"),
        ({"engine": "whisper", "input": {"audio_url": "http://169.254.169.254/meta"}}, "input.audio_url"),
        ({"engine": "whisper", "input": {"audio_url": "http://[::1]/a"}}, "input.audio_url"),
        ({"engine": "whisper", "input": {"audio_url": "file:///etc/passwd"}}, "input.audio_url"),
        ({"engine": "whisper", "input": {"audio_url": "upload://nonesuch"}}, "input.audio_url"),
        (
            {"engine": "whisper", "input": {"audio_url": "https://a.example/a", "model": "huge"}},
            "input.model",
        ),
    ],
)
async def test_bad_input_names_the_field_and_changes_nothing(world, body, field):
    reply = await world.http.post("/v1/jobs", json=body)
    assert reply.status_code == 422, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert field in {fault["field"] for fault in reply.json()["errors"]}
    assert (await world.http.get("/v1/jobs")).json()["items"] == []


async def test_not_json_is_a_problem_document(world):
    reply = await world.http.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"


async def test_an_idempotency_key_makes_one_job(world):
    body = {"engine": "csm", "input": {"text": "Once."}}
    headers = {"Idempotency-Key": "k1"}
    replies = await asyncio.gather(
        *(world.http.post("/v1/jobs", json=body, headers=headers) for _ in range(8))
    )
    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.json()["id"] for reply in replies}) == 1
    other = await world.http.post("/v1/jobs", json={**body, "priority": 1}, headers=headers)
    assert other.status_code == 409


async def test_a_batch_answers_row_by_row(world):
    rows = [{"engine": "csm", "input": {"text": f"Number {n}."}} for n in range(3)]
    rows.insert(1, {"engine": "csm", "input": {}})
    reply = await world.http.post("/v1/jobs/batch", json={"jobs": rows})
    assert reply.status_code == 202
    items = reply.json()["items"]
    assert [item["problem"] is None for item in items] == [True, False, True, True]
    assert len((await world.http.get("/v1/jobs")).json()["items"]) == 3


async def test_a_batch_has_a_bound(world):
    row = {"engine": "csm", "input": {"text": "x"}}
    assert (await world.http.post("/v1/jobs/batch", json={"jobs": [row] * 1001})).status_code == 422
    assert (await world.http.post("/v1/jobs/batch", json={"jobs": []})).status_code == 422


async def test_pages_follow_each_other_without_gaps(world):
    for n in range(7):
        await world.submit(metadata={"n": n})
        world.clock.advance(1)
    seen, cursor = [], None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await world.http.get("/v1/jobs", params=query)).json()
        seen += [job["metadata"]["n"] for job in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1, 0]
    assert (await world.http.get("/v1/jobs", params={"cursor": "nonsense"})).status_code == 422


async def test_cancel_ends_a_queued_job_and_a_running_one(world):
    queued = await world.submit()
    assert (await world.http.post(f"/v1/jobs/{queued['id']}/cancel")).json()["status"] == "cancelled"
    running = await world.submit()
    agent = await world.agent()
    assigned = await agent.claim()
    await world.http.post(f"/v1/jobs/{running['id']}/cancel")
    beat = await agent.post("heartbeat", attempts=[assigned["attempt"]])
    assert beat.json()["cancel"] == [assigned["attempt"]]
    assert (await agent.finish(assigned)).status_code == 409
    assert (await world.http.get(f"/v1/jobs/{running['id']}")).json()["status"] == "cancelled"


async def test_retry_makes_a_new_job_that_names_the_old_one(world):
    job = await world.submit(metadata={"a": 1})
    assert (await world.http.post(f"/v1/jobs/{job['id']}/retry")).status_code == 409
    await world.http.post(f"/v1/jobs/{job['id']}/cancel")
    again = (await world.http.post(f"/v1/jobs/{job['id']}/retry")).json()
    assert (again["retry_of"], again["status"], again["metadata"]) == (job["id"], "queued", {"a": 1})


async def test_a_job_that_nothing_can_run_says_why(world):
    job = await world.submit(engine="video", input={"prompt": "a cat"})
    await world.orchestrator.parts.reconciler.step()
    assert "No provider" in (await world.http.get(f"/v1/jobs/{job['id']}")).json()["blocked"]
    assert (await world.http.get("/v1/plan")).json()["blocked"][0]["engine"] == "video"
    strict = {"engine": "video", "input": {"prompt": "a cat"}, "strict": True}
    assert (await world.http.post("/v1/jobs", json=strict)).status_code == 503


async def test_unknown_things_are_404(world):
    missing = "00000000-0000-0000-0000-000000000000"
    for path in (
        f"/v1/jobs/{missing}",
        f"/v1/jobs/{missing}/result",
        f"/v1/jobs/{missing}/events",
        "/v1/nonesuch",
    ):
        reply = await world.http.get(path)
        assert reply.status_code == 404
        assert reply.headers["content-type"] == "application/problem+json"


async def test_an_upload_can_be_an_input(world):
    upload = (await world.http.post("/v1/uploads?name=a.mp3", content=b"sound")).json()
    form = await world.http.post("/v1/uploads", files={"file": ("b.mp3", b"more sound", "audio/mpeg")})
    assert form.json()["size_bytes"] == 10
    job = await world.submit(engine="whisper", input={"audio_url": upload["url"]})
    agent = await world.agent({"engine": "whisper", "backend": "test", "models": ["tiny.en"]})
    assigned = await agent.claim()
    assert assigned["job_id"] == job["id"]
    url = assigned["inputs"]["audio_url"]
    assert (await world.http.get(url)).content == b"sound"
    assert (await world.http.get(url.replace("signature=", "signature=0"))).status_code == 403


async def test_an_empty_upload_is_refused(world):
    assert (await world.http.post("/v1/uploads", content=b"")).status_code == 422


async def test_openapi_names_every_route(world):
    paths = (await world.http.get("/openapi.json")).json()["paths"]
    for path in (
        "/v1/jobs",
        "/v1/jobs/batch",
        "/v1/jobs/{job_id}/events",
        "/v1/uploads",
        "/v1/costs",
        "/healthz",
    ):
        assert path in paths
