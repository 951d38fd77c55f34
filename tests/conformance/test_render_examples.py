"""The render API's documented requests, through curl, and what they answer."""

import json
import re
from uuid import UUID

import pytest
from render_examples import (
    BODIES,
    MARK,
    RESULT,
    RESULT_OF_A_STRANGER,
    STATUS,
    STATUS_OF_A_STRANGER,
    SUBMITS,
)

COMMENT = re.compile(r"\s+// .*")


@pytest.fixture(scope="module")
def client(server):
    return server.person()


@pytest.fixture
def queued(server, client):
    """A job that no engine here can run."""
    return server.curl(SUBMITS["a portrait"], client).json()["id"]


def marked(server, client, job_id):
    return server.curl(MARK, client, {"JOB_ID": job_id})


def check_accepted(answer):
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said == {"id": str(UUID(said["id"])), "status": "queued"}
    return said["id"]


@pytest.mark.parametrize("example", SUBMITS)
def test_render_curl_asks_for(server, client, example):
    job_id = check_accepted(server.curl(SUBMITS[example], client))
    assert marked(server, client, job_id).status == 200


@pytest.mark.parametrize("path", [path for path in BODIES if path != "/job/JOB_ID"])
def test_render_body_of(server, client, path):
    body = json.loads(COMMENT.sub("", BODIES[path]))
    reply = client.http.post(path, json=body)
    assert (reply.status_code, reply.json()["status"]) == (200, "queued")
    job = client.http.get(f"/v1/jobs/{reply.json()['id']}").json()
    assert (job["max_time"], job["complete_in"]) == (body["max_time"], body["complete_in"])
    mark = json.loads(COMMENT.sub("", BODIES["/job/JOB_ID"]))
    said = client.http.post(f"/job/{job['id']}", json=mark)
    assert said.json() == {"message": f"Job {job['id']} marked as timed_out"}


def test_render_curl_of_a_status(server, client, queued):
    answer = server.curl(STATUS, client, {"JOB_ID": queued})
    assert (answer.status, answer.json()["status"]) == (200, "queued")


def test_render_curl_of_a_strangers_status_is_not_found(server, client):
    answer = server.curl(STATUS_OF_A_STRANGER, client)
    assert (answer.status, answer.json()) == (404, {"error": "Job not found"})


def test_render_curl_of_a_result_that_is_not_there_yet(server, client, queued):
    answer = server.curl(RESULT, client, {"JOB_ID": queued})
    assert (answer.status, answer.json()["status"]) == (400, "queued")
    assert answer.json()["error"]


def test_render_curl_of_a_strangers_result_is_not_found(server, client):
    answer = server.curl(RESULT_OF_A_STRANGER, client)
    assert (answer.status, answer.json()) == (404, {"error": "Job not found"})


def test_render_curl_marks_a_job_as_timed_out(server, client, queued):
    answer = marked(server, client, queued)
    assert (answer.status, answer.json()) == (200, {"message": f"Job {queued} marked as timed_out"})
    said = server.curl(STATUS, client, {"JOB_ID": queued}).json()
    assert (said["status"], said["error"]) == ("timed_out", "Job timed out after waiting too long")


@pytest.mark.parametrize("example", SUBMITS)
def test_render_curl_without_a_key_is_refused_for(server, example):
    answer = server.curl(SUBMITS[example], None)
    assert answer.status == 401
    assert list(answer.json()) == ["error"]


def test_render_curl_with_a_bearer_token(server, client):
    bearer = SUBMITS["an image"].replace("X-C3-RENDER-KEY: ", "Authorization: Bearer ")
    marked(server, client, check_accepted(server.curl(bearer, client)))
