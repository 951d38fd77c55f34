"""The render API over our verbs: its fields and ranges, its words for what became of jobs, and its refusals."""

from uuid import UUID, uuid4

import pytest

SPEECH = {"text": "Hello there."}
HEAR = {"audio_url": "https://example.com/a.mp3"}
WHISPER = {"engine": "whisper", "backend": "test", "models": ["medium"]}


async def submit(world, path="csm", **body):
    reply = await world.http.post(f"/{path}", json=SPEECH | body if path == "csm" else body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["status"] == "queued"
    return reply.json()["id"]


async def asked_of(world, job_id):
    return (await world.http.get(f"/v1/jobs/{job_id}")).json()


async def status(world, job_id):
    return (await world.http.get(f"/status/{job_id}")).json()


async def result(world, job_id):
    reply = await world.http.get(f"/result/{job_id}")
    return reply.status_code, reply.json()


async def begun(world, **body):
    """A job that runs, and its agent with what it claimed."""
    job_id = await submit(world, **body)
    agent = await world.agent()
    return job_id, agent, await agent.claim()


async def test_speech_has_the_documented_defaults(world):
    job = await asked_of(world, await submit(world))
    assert (job["engine"], job["max_time"], job["complete_in"]) == ("csm", 1200, 3600)
    assert job["input"] == SPEECH | {
        "voice": "random",
        "temperature": 0.9,
        "topk": 50,
        "max_audio_length": 10_000,
        "pause_duration": 150,
    }


async def test_a_transcript_has_the_documented_defaults(world):
    job = await asked_of(world, await submit(world, "whisper", **HEAR))
    assert job["input"] == HEAR | {"model": "medium", "task": "transcribe", "language": ""}


async def test_other_submits_take_their_urls(world):
    face = {"image_url": "https://example.com/face.jpg"}
    assert (await asked_of(world, await submit(world, "portrait", **face, **HEAR)))["input"] == face | HEAR
    assert (await asked_of(world, await submit(world, "analyze", **face)))["input"] == face


async def test_fields_that_it_does_not_know_and_empty_ones_are_left_out(world):
    extra = {"speaker": 3, "notify_url": None, "reference_audio_url": "", "max_time": None}
    job = await asked_of(world, await submit(world, **extra))
    assert not {"speaker", "reference_audio_url"} & set(job["input"])
    assert (job["notify_url"], job["max_time"]) == (None, 1200)


async def test_a_reference_is_kept_only_for_a_cloned_voice(world):
    reference = {"reference_audio_url": "https://example.com/me.mp3", "reference_text": "It is me."}
    plain = await asked_of(world, await submit(world, **reference))
    assert not set(reference) & set(plain["input"])
    cloned = await asked_of(world, await submit(world, voice="clone", **reference))
    assert reference.items() <= cloned["input"].items()


EDGES = {
    "temperature": (0.0, 2.0),
    "topk": (1, 100),
    "max_audio_length": (1000, 30_000),
    "pause_duration": (0, 500),
    "max_time": (60, 7200),
    "complete_in": (60, 86_400),
}


async def test_a_range_ends_where_it_says(world):
    for field, (lowest, highest) in EDGES.items():
        for inside in (lowest, highest):
            await submit(world, **{field: inside})
        for outside in (lowest - 1, highest + 1):
            reply = await world.http.post("/csm", json=SPEECH | {field: outside})
            assert (reply.status_code, list(reply.json()["errors"])) == (400, [field])
            assert reply.json()["error"].startswith(f"{field}: ")


REFUSED = (
    ("csm", {}, "give either text or monologue"),
    ("csm", {"text": "a", "monologue": ["b"]}, "give either text or monologue"),
    ("csm", {"monologue": []}, "monologue: "),
    ("csm", {"monologue": ["a", ""]}, "monologue.1: "),
    ("csm", {"monologue": "a"}, "monologue: "),
    ("csm", {"text": 7}, "text: "),
    ("csm", SPEECH | {"voice": "clone"}, "needs reference_audio_url and reference_text"),
    ("csm", SPEECH | {"voice": "nobody"}, "voice: "),
    ("csm", SPEECH | {"notify_url": "not a url"}, "notify_url: "),
    ("csm", SPEECH | {"notify_url": "http://10.0.0.1/hook"}, "notify_url: "),
    ("csm", SPEECH | {"max_time": "soon"}, "max_time: "),
    ("whisper", {}, "Missing required field: audio_url"),
    ("whisper", {"audio_url": ""}, "Missing required field: audio_url"),
    ("whisper", HEAR | {"model": "huge"}, "model: "),
    ("whisper", HEAR | {"task": "sing"}, "task: "),
    ("whisper", HEAR | {"language": "English"}, "language: "),
    ("whisper", {"audio_url": "file:///etc/passwd"}, "audio_url: "),
    ("whisper", {"audio_url": "http://169.254.169.254/"}, "audio_url: "),
    ("whisper", {"audio_url": "upload://none"}, "audio_url: "),
    ("analyze", {"image_url": 3}, "image_url: "),
    ("analyze", [], "Send a JSON object as the body"),
)


async def test_a_refusal_names_the_field_and_nothing_is_queued(world):
    for path, body, error in REFUSED:
        reply = await world.http.post(f"/{path}", json=body)
        assert (reply.status_code, reply.headers["content-type"]) == (400, "application/json"), body
        assert error in reply.json()["error"]
    assert (await world.http.get("/v1/jobs")).json()["items"] == []


async def test_a_portrait_says_what_is_missing_in_both_forms(world):
    reply = await world.http.post("/portrait", json={})
    missing = {name: f"Missing required field: {name}" for name in ("image_url", "audio_url")}
    assert (reply.status_code, reply.json()["errors"]) == (400, missing)
    assert reply.json()["error"] == "; ".join(missing.values())


HARDLY = (b"", b"{", b"\xff", b'{"text": NaN}', b"[" * 100_000, b'{"text": "\\ud800"}')


async def test_what_is_hardly_json_is_a_400(world):
    for content in HARDLY:
        reply = await world.http.post("/csm", content=content, headers={"Content-Type": "application/json"})
        assert reply.status_code == 400
        assert isinstance(reply.json()["error"], str)


async def test_ids_are_checked_and_unknown_jobs_are_404(world):
    for method, path in (("GET", "status"), ("GET", "result"), ("POST", "job")):
        body = {"status": "failed"} if method == "POST" else None
        bad = await world.http.request(method, f"/{path}/JOB_ID", json=body)
        assert (bad.status_code, bad.json()) == (400, {"error": "Invalid job ID format"})
        unknown = await world.http.request(method, f"/{path}/{uuid4()}", json=body)
        assert (unknown.status_code, unknown.json()) == (404, {"error": "Job not found"})


async def test_a_wrong_method_and_a_wrong_key_are_said_in_its_words(world):
    method = await world.http.get("/csm")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert list(method.json()) == ["error"]
    key = await world.http.post("/csm", json=SPEECH, headers={"X-C3-RENDER-KEY": "nobody's"})
    assert (key.status_code, key.headers["www-authenticate"]) == (401, "Bearer")
    assert list(key.json()) == ["error"]


async def test_what_breaks_here_is_a_500_in_its_words(world):
    async def broken(*_, **__):
        raise RuntimeError("a secret")

    world.orchestrator.parts.store.get_job = broken
    reply = await world.http.get(f"/status/{uuid4()}")
    assert reply.status_code == 500
    assert reply.json()["error"].startswith("Internal server error")
    assert "secret" not in reply.text


async def test_a_job_goes_from_queued_to_success(world):
    job_id, agent, assigned = await begun(world)
    UUID(job_id)
    assert await status(world, job_id) == {"id": job_id, "status": "running"}
    assert await result(world, job_id) == (
        400,
        {"error": "Job has not completed yet", "id": job_id, "status": "running"},
    )
    await agent.finish(assigned)
    assert await status(world, job_id) == {"id": job_id, "status": "success"}
    assert await result(world, job_id) == (200, {"id": job_id, "status": "success", "text": "done"})


async def test_a_file_is_a_result_url(world):
    job_id, agent, assigned = await begun(world)
    asked = {"name": "speech.mp3", "size_bytes": 4}
    grant = (await agent.post(f"attempts/{assigned['attempt']}/upload", **asked)).json()
    assert (await world.http.put(grant["url"], content=b"abcd")).status_code == 204
    file = {"name": "speech.mp3", "key": grant["key"], "size_bytes": 4}
    assert (await agent.finish(assigned, result={"backend": "t", "files": [file]})).status_code == 200
    code, said = await result(world, job_id)
    assert (code, set(said)) == (200, {"id", "status", "result_url"})
    assert (await world.http.get(said["result_url"])).content == b"abcd"


async def test_a_job_that_failed_says_why(world):
    job_id, agent, assigned = await begun(world)
    await agent.finish(assigned, fault={"kind": "job", "code": "csm_bad", "message": "The text is odd."})
    failed = {"id": job_id, "status": "failed", "error": "The text is odd."}
    assert await status(world, job_id) == failed
    assert await result(world, job_id) == (200, failed)


async def test_a_job_that_nothing_can_run_says_why_it_waits(world):
    job_id = await submit(world, "whisper", **HEAR)
    await world.orchestrator.parts.reconciler.step()
    said = await status(world, job_id)
    assert said["status"] == "queued"
    assert "start a worker" in said["reason"]


async def test_a_job_expires_in_the_queue(world):
    job_id = await submit(world, complete_in=60)
    world.clock.advance(59)
    await world.orchestrator.parts.reconciler.step()
    assert (await status(world, job_id))["status"] == "queued"
    world.clock.advance(1)
    await world.orchestrator.parts.reconciler.step()
    expired = {"id": job_id, "status": "failed", "error": "Job expired before processing could begin"}
    assert await status(world, job_id) == expired
    assert await result(world, job_id) == (200, expired)
    agent = await world.agent()
    assert await agent.claim() is None


async def test_max_time_counts_from_the_start_of_the_job(world):
    job_id = await submit(world, max_time=60, complete_in=600)
    world.clock.advance(100)
    agent = await world.agent()
    held = [(await agent.claim())["attempt"]]
    for _ in range(3):
        world.clock.advance(19)
        await agent.post("heartbeat", attempts=held)
        await world.orchestrator.parts.reconciler.step()
        assert (await status(world, job_id))["status"] == "running"
    world.clock.advance(4)
    await world.orchestrator.parts.reconciler.step()
    said = await status(world, job_id)
    assert (said["status"], said["error"]) == ("failed", "Job exceeded maximum runtime of 60 seconds")


async def test_the_deadline_ends_a_running_job_too(world):
    job_id, _, assigned = await begun(world, max_time=600, complete_in=60)
    assert assigned["time_left_s"] == 60
    world.clock.advance(61)
    await world.orchestrator.parts.reconciler.step()
    said = await status(world, job_id)
    assert said["status"] == "failed"
    assert said["error"].startswith("Job exceeded completion deadline (created_at: 2027-")


@pytest.mark.parametrize(("mark", "code"), [("timed_out", 400), ("cancelled", 400), ("failed", 200)])
async def test_a_client_ends_a_job_and_the_attempt_stops(world, mark, code):
    job_id, agent, assigned = await begun(world)
    asked = {"status": mark, "error": "Job timed out after 30 minutes"}
    reply = await world.http.post(f"/job/{job_id}", json=asked)
    assert (reply.status_code, reply.json()) == (200, {"message": f"Job {job_id} marked as {mark}"})
    ended = {"id": job_id, "status": mark, "error": "Job timed out after 30 minutes"}
    assert await status(world, job_id) == ended
    assert await result(world, job_id) == (code, ended)
    beat = (await agent.post("heartbeat", attempts=[assigned["attempt"]])).json()
    assert beat["cancel"] == [assigned["attempt"]]
    assert (await agent.finish(assigned)).status_code == 409
    assert (await world.http.post(f"/job/{job_id}", json=asked)).json() == reply.json()
    assert (await asked_of(world, job_id))["status"] == "cancelled"


async def test_a_queued_job_that_its_client_ended_is_never_begun(world):
    job_id = await submit(world)
    await world.http.post(f"/job/{job_id}", json={"status": "cancelled"})
    assert (await status(world, job_id))["error"] == "Job marked as cancelled by its client"
    assert await (await world.agent()).claim() is None


async def test_a_job_that_had_ended_stays_as_it_is_and_says_so(world):
    job_id, agent, assigned = await begun(world)
    await agent.finish(assigned)
    reply = await world.http.post(f"/job/{job_id}", json={"status": "timed_out"})
    assert (reply.status_code, reply.json()["status"]) == (200, "success")
    assert "had ended before" in reply.json()["message"]
    assert (await status(world, job_id))["status"] == "success"


@pytest.mark.parametrize("ended", [False, True])
async def test_a_job_goes_with_its_data(world, ended):
    job_id, agent, assigned = await begun(world)
    if ended:
        await agent.finish(assigned)
    asked = {"status": "failed", "remove_data": True}
    reply = await world.http.post(f"/job/{job_id}", json=asked)
    assert reply.status_code == 200
    assert reply.json()["message"].endswith("its data is removed" if ended else "marked as failed")
    for path in (f"/status/{job_id}", f"/result/{job_id}", f"/v1/jobs/{job_id}"):
        assert (await world.http.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "status"),
        ({"status": "success"}, "status"),
        ({"status": "failed", "remove_data": "perhaps"}, "remove_data"),
        ({"status": "failed", "error": ["a"]}, "error"),
    ],
)
async def test_a_mark_that_it_does_not_know_changes_nothing(world, body, field):
    job_id = await submit(world)
    reply = await world.http.post(f"/job/{job_id}", json=body)
    assert (reply.status_code, list(reply.json()["errors"])) == (400, [field])
    assert (await status(world, job_id))["status"] == "queued"


async def test_the_same_idempotency_key_is_the_same_job(world):
    headers = {"Idempotency-Key": "once"}
    first = await world.http.post("/csm", json=SPEECH, headers=headers)
    again = await world.http.post("/csm", json=SPEECH, headers=headers)
    assert again.json() == first.json()
    other = await world.http.post("/csm", json={"text": "Other."}, headers=headers)
    assert (other.status_code, list(other.json())) == (409, ["error"])
