"""The video API, with machines that make real, short films over the gRPC of its first system."""

import io
import time
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import av
import httpx
import pytest

CAT = {"prompt": "A cat that plays the piano", "width": 64, "height": 64, "seconds": 0.5, "fps": 8}
SUBMIT = """
curl -X POST http://localhost:8000/jobs -H "Content-Type: application/json" \\
  -H "Authorization: Bearer your_api_key_here" -d '{"prompt": "A cat that plays the piano"}'
"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    from studio import Studio  # noqa: PLC0415  It looks in the folders that conftest names.

    with Studio(tmp_path_factory.mktemp("studio")) as running:
        yield running


@pytest.fixture(scope="module")
def server(studio, tmp_path_factory):
    from studio import server_with  # noqa: PLC0415

    with server_with(studio, tmp_path_factory.mktemp("video")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    return server.person()


@pytest.fixture(autouse=True)
def _quick(studio):
    yield
    studio.hold(on=False)


@pytest.fixture(scope="module")
def film(server, client):
    """A job that is completed, as `GET /jobs/{id}` shows it."""
    return completed(server, client, submit(client)["job_id"])


def submit(client, **body):
    reply = client.http.post("/jobs", json=CAT | body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def shown(client, job_id):
    return client.http.get(f"/jobs/{job_id}").json()


def until_status(server, client, job_id, status):
    return server.until(lambda: (job := shown(client, job_id))["status"] == status and job)


def completed(server, client, job_id):
    job = server.until(lambda: (job := shown(client, job_id))["finished_at"] and job)
    assert job["status"] == "completed", job
    return job


def check_film(content):
    """It is a film that can be decoded."""
    with av.open(io.BytesIO(content)) as container:
        assert container.format.name.startswith("mov,mp4")
        assert len(list(container.decode(video=0))) == 4


def test_video_curl_of_a_job(server, client):
    answer = server.curl(SUBMIT, client)
    assert answer.status == 200, answer.body
    said = answer.json()
    assert said["job_id"] == said["id"]
    assert said["status"] == "pending"
    assert server.curl(SUBMIT, None).status == 401


def test_video_job_is_pending_processing_completed(server, client, studio):
    studio.hold(on=True)
    job = submit(client)
    assert (job["status"], job["progress"], job["result_url"]) == ("pending", 0, None)
    server.until(lambda: shown(client, job["id"])["progress"] > 0)
    assert shown(client, job["id"])["status"] == "processing"
    early = client.http.get(f"/jobs/{job['id']}/result")
    assert (early.status_code, early.json()) == (409, {"detail": "The job is processing"})
    studio.hold(on=False)
    done = completed(server, client, job["id"])
    assert (done["progress"], done["error"]) == (100, None)


def test_video_result_is_a_presigned_url(client, film):
    said = client.http.get(f"/jobs/{film['id']}/result").json()
    assert (said["job_id"], said["url"]) == (film["id"], said["result_url"])
    for url in (said["url"], film["result_url"]):
        reply = httpx.get(url, trust_env=False)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "video/mp4")
        check_film(reply.content)


def test_video_result_is_the_film_itself_where_that_is_accepted(client, film):
    reply = client.http.get(f"/jobs/{film['id']}/result", headers={"Accept": "video/mp4"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "video/mp4")
    check_film(reply.content)


def test_video_download_is_signed_for_an_hour(client, film):
    said = client.http.get(f"/download/{film['id']}").json()
    assert list(said) == ["url"]
    left_s = int(parse_qs(urlsplit(said["url"]).query)["expires"][0]) - time.time()
    assert 3500 < left_s < 3700
    check_film(httpx.get(said["url"], trust_env=False).content)


def test_video_list_is_paginated(client, film):
    made = {submit(client)["id"] for _ in range(3)} | {film["id"]}
    seen, cursor = [], None
    while cursor or not seen:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.http.get("/jobs", params=params).json()
        assert len(page["items"]) <= 2
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
    assert made <= set(seen)
    assert len(seen) == len(set(seen))
    assert len(client.http.get("/jobs", params={"limit": 1, "offset": 1}).json()["items"]) == 1


def test_video_job_without_a_film_is_404_or_409(client):
    waiting = submit(client, model="of nobody")
    for path, status, detail in (
        (f"/jobs/{uuid4()}", 404, "unknown job"),
        (f"/jobs/{uuid4()}/result", 404, "unknown job"),
        (f"/download/{uuid4()}", 404, "unknown job"),
        (f"/download/{waiting['id']}", 404, "no artifact"),
        (f"/jobs/{waiting['id']}/result", 409, "The job is pending"),
    ):
        reply = client.http.get(path)
        assert (reply.status_code, reply.json()) == (status, {"detail": detail})


def test_video_job_that_nothing_can_make_says_why_it_waits(server, client):
    job = submit(client, model="of nobody")
    assert server.until(lambda: shown(client, job["id"])["reason"])


def test_video_failure_says_why(server, client, studio):
    for worker in studio.workers:
        worker.knobs.error = (422, "the prompt is not for us")
    job = submit(client)
    try:
        failed = until_status(server, client, job["id"], "failed")
    finally:
        for worker in studio.workers:
            worker.knobs.error = None
    assert "the prompt is not for us" in failed["error"]
    assert client.http.get(f"/jobs/{job['id']}/result").status_code == 409


@pytest.mark.parametrize(
    ("body", "queue"),
    [
        ({}, "short-low"),
        ({"seconds": 10.5}, "long-high"),
        ({"quality": "high"}, "long-high"),
        ({"width": None, "height": None, "resolution": "1080p"}, "long-high"),
        ({"quality": "high", "queue": "short-low"}, "short-low"),
    ],
)
def test_video_queue_is_named_or_chosen_by_the_work(client, body, queue):
    assert submit(client, model="of nobody", **body)["queue"] == queue


def test_video_queues_have_their_own_concurrency(server, client, studio):
    studio.hold(on=True)
    long = [submit(client, queue="long-high")["id"] for _ in range(2)]
    until_status(server, client, long[0], "processing")
    short = submit(client, queue="short-low")["id"]
    until_status(server, client, short, "processing")
    assert shown(client, long[1])["status"] == "pending"
    studio.hold(on=False)
    for job_id in (*long, short):
        completed(server, client, job_id)


def test_video_worker_may_serve_one_queue_only(server, client):
    from studio import ENROLMENT  # noqa: PLC0415

    asked = {queue: submit(client, model="mine", queue=queue)["id"] for queue in ("short-low", "long-high")}
    headers = {"X-Internal-API-Key": ENROLMENT}
    offer = {"engine": "video", "backend": "a test", "models": ["mine"]}
    said = {"incarnation": "incarnation-1", "engines": [offer], "capacity": 2, "queues": ["long-high"]}
    url = f"{server.url}/internal/workers/affine"
    assert httpx.post(f"{url}/register", json=said, headers=headers, trust_env=False).status_code == 200
    given = [claim(url, headers, nonce) for nonce in ("nonce-0001", "nonce-0002")]
    assert [one and one["job_id"] for one in given] == [asked["long-high"], None]
    for job_id in asked.values():
        client.http.post(f"/v1/jobs/{job_id}/cancel")


def claim(url, headers, nonce):
    body = {"incarnation": "incarnation-1", "nonce": nonce, "wait_s": 0}
    return httpx.post(f"{url}/claim", json=body, headers=headers, trust_env=False).json()["assignment"]


def test_video_refusal_names_the_field(client):
    reply = client.http.post("/jobs", json={"prompt": ""})
    assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["body", "prompt"])


def test_video_jobs_of_others_do_not_exist(server, film):
    other = server.person()
    assert other.http.get("/jobs").json() == {"items": [], "next_cursor": None}
    for path in (f"/jobs/{film['id']}", f"/jobs/{film['id']}/result", f"/download/{film['id']}"):
        assert other.http.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/livez"])
def test_video_health_is_ok_without_a_key_at(server, path):
    reply = httpx.get(f"{server.url}{path}", trust_env=False)
    assert (reply.status_code, reply.json()["status"]) == (200, "ok")
