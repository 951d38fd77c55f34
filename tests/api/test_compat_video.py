"""The video API over our verbs: what it takes, its two queues, its pages, and where films are."""

from uuid import uuid4

import pytest

pytestmark = pytest.mark.slow

CAT = {"prompt": "A cat that plays the piano"}
MAKER = {"engine": "video", "backend": "test", "models": ["mochi-1-preview"]}


async def submit(world, **body):
    reply = await world.http.post("/jobs", json=CAT | body)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def asked_of(world, **body):
    return (await world.http.get(f"/v1/jobs/{(await submit(world, **body))['id']}")).json()


async def film(world):
    """A job that is done: its id."""
    job = await submit(world)
    agent = await world.agent(MAKER)
    assigned = await agent.claim()
    asked = {"name": "video.mp4", "size_bytes": 4}
    grant = (await agent.post(f"attempts/{assigned['attempt']}/upload", **asked)).json()
    assert (await world.http.put(grant["url"], content=b"film")).status_code == 204
    file = {"name": "video.mp4", "key": grant["key"], "size_bytes": 4, "content_type": "video/mp4"}
    done = await agent.finish(assigned, result={"backend": "test", "model": "mochi", "files": [file]})
    assert done.status_code == 200, done.text
    return job["id"]


async def test_a_prompt_is_enough(world):
    job = await submit(world)
    assert job["id"] == job["job_id"]
    assert (job["status"], job["progress"], job["result_url"], job["error"]) == ("pending", 0, None, None)
    ours = (await world.http.get(f"/v1/jobs/{job['id']}")).json()
    assert ours["input"] == CAT | {"duration": 6.0, "quality": "medium", "width": 1024, "height": 576}
    assert (ours["queue"], ours["max_time"], ours["complete_in"]) == ("short-low", 1200, 86_400)


async def test_a_length_has_the_names_of_all_its_clients(world):
    for name in ("duration", "seconds", "duration_seconds"):
        assert (await asked_of(world, **{name: 4}))["input"]["duration"] == 4


SIZES = (
    ({"resolution": "480p"}, (848, 480)),
    ({"resolution": "720p"}, (1280, 720)),
    ({"resolution": "1080p"}, (1920, 1080)),
    ({"resolution": "848x480"}, (848, 480)),
    ({"width": 640, "height": 360}, (640, 360)),
    ({"resolution_width": 1920, "resolution_height": 1080}, (1920, 1080)),
    ({"options": {"width": "320", "height": "240", "fps": "8", "seed": "7"}}, (320, 240)),
)


async def test_a_size_is_said_in_any_of_its_ways(world):
    for body, size in SIZES:
        asked = (await asked_of(world, **body))["input"]
        assert (asked["width"], asked["height"]) == size
    assert (asked["fps"], asked["seed"]) == (8, 7)


QUEUES = (
    ({"seconds": 10}, "short-low", 1200),
    ({"seconds": 10.5}, "long-high", 7200),
    ({"quality": "high"}, "long-high", 7200),
    ({"resolution": "1080p"}, "long-high", 7200),
    ({"quality": "high", "queue": "short-low"}, "short-low", 1200),
    ({"queue": "long-high"}, "long-high", 7200),
    ({"queue": "long-high", "max_time": 60}, "long-high", 60),
    ({"queue": "mine"}, "mine", 7200),
)


async def test_a_queue_is_named_or_chosen_by_the_work(world):
    for body, queue, max_time in QUEUES:
        job = await asked_of(world, **body)
        assert (job["queue"], job["max_time"]) == (queue, max_time)


REFUSED = (
    ({}, ["body", "prompt"]),
    ({"prompt": ""}, ["body", "prompt"]),
    (CAT | {"seconds": 0}, ["body", "duration"]),
    (CAT | {"seconds": 121}, ["body", "duration"]),
    (CAT | {"quality": "best"}, ["body", "quality"]),
    (CAT | {"resolution": "big"}, ["body"]),
    (CAT | {"resolution": "576p", "width": 64, "height": 64}, ["body"]),
    (CAT | {"width": 64}, ["body"]),
    (CAT | {"width": 65, "height": 64}, ["body", "width"]),
    (CAT | {"queue": "NO SUCH"}, ["body", "queue"]),
    (CAT | {"notify_url": "http://10.0.0.1/"}, ["body", "notify_url"]),
    ([], ["body"]),
)


async def test_a_refusal_names_the_field_and_nothing_is_queued(world):
    for body, where in REFUSED:
        reply = await world.http.post("/jobs", json=body)
        assert reply.status_code == 422, body
        (fault, *_) = reply.json()["detail"]
        assert fault["loc"] == where
        assert set(fault) == {"type", "loc", "msg"}
    assert (await world.http.get("/jobs")).json() == {"items": [], "next_cursor": None}


async def test_other_refusals_are_a_detail(world):
    key = await world.http.get("/jobs", headers={"Authorization": "Bearer nobody"})
    method = await world.http.delete("/jobs")
    unknown = await world.http.get(f"/jobs/{uuid4()}")
    assert [one.status_code for one in (key, method, unknown)] == [401, 405, 404]
    assert all(isinstance(one.json()["detail"], str) for one in (key, method, unknown))
    assert unknown.json() == {"detail": "unknown job"}


async def test_it_is_pending_then_processing_then_completed(world):
    job_id = (await submit(world))["id"]
    assert (await world.http.get(f"/jobs/{job_id}/result")).status_code == 409
    agent = await world.agent(MAKER)
    assigned = await agent.claim()
    await agent.post(f"attempts/{assigned['attempt']}/progress", phase="inferring", progress=0.42)
    job = (await world.http.get(f"/jobs/{job_id}")).json()
    assert (job["status"], job["progress"]) == ("processing", 42)
    refused = await world.http.get(f"/jobs/{job_id}/result")
    assert (refused.status_code, refused.json()) == (409, {"detail": "The job is processing"})


async def test_a_film_is_had_by_url_and_as_it_is(world):
    job_id = await film(world)
    job = (await world.http.get(f"/jobs/{job_id}")).json()
    assert (job["status"], job["progress"], job["error"]) == ("completed", 100, None)
    said = (await world.http.get(f"/jobs/{job_id}/result")).json()
    assert (said["job_id"], said["status"], said["expires_in"]) == (job_id, "completed", 7 * 86_400)
    assert said["url"] == said["result_url"]
    link = (await world.http.get(f"/download/{job_id}")).json()
    assert list(link) == ["url"]
    for url in (job["result_url"], said["url"], link["url"]):
        assert (await world.http.get(url)).content == b"film"
    direct = await world.http.get(f"/jobs/{job_id}/result", headers={"Accept": "video/mp4"})
    assert (direct.status_code, direct.content) == (200, b"film")
    assert direct.headers["content-type"] == "video/mp4"


async def test_a_download_is_signed_for_an_hour(world):
    url = (await world.http.get(f"/download/{await film(world)}")).json()["url"]
    world.clock.advance(3599)
    assert (await world.http.get(url)).status_code == 200
    world.clock.advance(2)
    assert (await world.http.get(url)).status_code == 403


async def test_there_is_no_download_before_there_is_a_film(world):
    reply = await world.http.get(f"/download/{(await submit(world))['id']}")
    assert (reply.status_code, reply.json()) == (404, {"detail": "no artifact"})
    reply = await world.http.get(f"/download/{uuid4()}")
    assert (reply.status_code, reply.json()) == (404, {"detail": "unknown job"})


async def test_a_job_that_failed_says_why(world):
    job_id = (await submit(world))["id"]
    await world.http.post(f"/v1/jobs/{job_id}/cancel")
    job = (await world.http.get(f"/jobs/{job_id}")).json()
    assert (job["status"], job["error"]) == ("failed", "cancelled by its client")
    reply = await world.http.get(f"/jobs/{job_id}/result")
    assert (reply.status_code, reply.json()["detail"]) == (
        409,
        "The job is failed: cancelled by its client",
    )


async def test_a_job_that_nothing_can_run_says_why_it_waits(world):
    job_id = (await submit(world))["id"]
    await world.orchestrator.parts.reconciler.step()
    assert "start a worker" in (await world.http.get(f"/jobs/{job_id}")).json()["reason"]


async def test_pages_follow_each_other_without_gaps(world):
    await world.submit()
    made = []
    for _ in range(5):
        made.insert(0, (await submit(world))["id"])
        world.clock.advance(1)
    whole = (await world.http.get("/jobs")).json()
    assert ([job["id"] for job in whole["items"]], whole["next_cursor"]) == (made, None)
    seen, cursor = [], None
    while cursor or not seen:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await world.http.get("/jobs", params=params)).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
    assert seen == made
    skipped = (await world.http.get("/jobs", params={"limit": 2, "offset": 3})).json()
    assert [job["id"] for job in skipped["items"]] == made[3:]


async def test_a_page_that_is_none_is_refused(world):
    for name, value in (
        ("limit", 0),
        ("limit", 201),
        ("cursor", "x"),
        ("cursor", str(uuid4())),
        ("offset", -1),
    ):
        reply = await world.http.get("/jobs", params={name: value})
        assert reply.status_code == 422
        assert reply.json()["detail"][0]["loc"] == ["query", name]


async def test_jobs_of_other_engines_are_not_here(world):
    other = (await world.submit())["id"]
    for path in (f"/jobs/{other}", f"/jobs/{other}/result", f"/download/{other}"):
        assert (await world.http.get(path)).status_code == 404
