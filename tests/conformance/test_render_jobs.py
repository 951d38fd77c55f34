"""The render API's jobs with the engines that run here: results, webhooks, ends, and limits of time."""

import time

import httpx
import pytest
from PIL import Image
from render_examples import SUBMITS

HOOK = "https://your-webhook-endpoint.com/callback"
SOUND = "https://example.com/path/to/audio.mp3"


@pytest.fixture(scope="module")
def client(server):
    return server.person()


@pytest.fixture(scope="module")
def expiring(server, client):
    """A job that nothing can run, and when it expires."""
    body = {"image_url": "https://example.com/a.jpg", "audio_url": SOUND, "complete_in": 60}
    hook = {"notify_url": server.hook_url("expired")}
    return client.http.post("/portrait", json=body | hook).json()["id"], time.monotonic() + 60


@pytest.fixture(scope="module")
def picture(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "red.png"
    Image.new("RGB", (64, 48), (200, 20, 20)).save(path)
    return server.file_url(path)


@pytest.fixture(scope="module")
def spoken(server, client, expiring):
    """A job of speech that has succeeded."""
    hook = {HOOK: server.hook_url("spoken")}
    return success(server, client, server.curl(SUBMITS["speech from a text"], client, hook).json()["id"])


def status(client, job_id):
    return client.http.get(f"/status/{job_id}").json()


def ended(server, client, job_id, patience_s=100.0):
    going = ("queued", "running")
    return server.until(lambda: (said := status(client, job_id))["status"] not in going and said, patience_s)


def success(server, client, job_id):
    said = ended(server, client, job_id)
    assert said == {"id": job_id, "status": "success"}, said
    return job_id


def hook_of(server, name):
    return server.until(lambda: server.hooked(name))[0]["body"]


def test_render_speech_is_made_and_its_webhook_has_the_url(server, client, spoken):
    reply = client.http.get(f"/result/{spoken}")
    assert (reply.status_code, set(reply.json())) == (200, {"id", "status", "result_url"})
    sound = httpx.get(reply.json()["result_url"], trust_env=False)
    assert (sound.status_code, sound.headers["content-type"]) == (200, "audio/mpeg")
    assert len(sound.content) > 10_000
    told = hook_of(server, "spoken")
    assert set(told) == {"id", "status", "result_url"}
    assert (told["id"], told["status"]) == (spoken, "success")
    assert httpx.get(told["result_url"], trust_env=False).content == sound.content


def test_render_transcript_is_the_text_and_so_is_its_webhook(server, client, spoken):
    sound = client.http.get(f"/result/{spoken}").json()["result_url"]
    body = {"audio_url": sound, "model": "tiny.en", "notify_url": server.hook_url("heard")}
    job_id = success(server, client, client.http.post("/whisper", json=body).json()["id"])
    said = client.http.get(f"/result/{job_id}").json()
    assert set(said) == {"id", "status", "text"}
    assert "hello" in said["text"].lower()
    assert hook_of(server, "heard") == {"id": job_id, "status": "success", "text": said["text"]}


def test_render_image_is_analyzed(server, client, picture):
    swap = {"https://example.com/path/to/image.jpg": picture, HOOK: server.hook_url("seen")}
    job_id = success(server, client, server.curl(SUBMITS["an image"], client, swap).json()["id"])
    said = client.http.get(f"/result/{job_id}").json()
    assert said["text"]
    assert hook_of(server, "seen") == said


@pytest.mark.parametrize(
    "example",
    ["speech in a cloned voice", "a transcript", "a transcript with a model", "a portrait"],
)
def test_render_job_whose_engine_is_not_here_waits_and_says_why(server, client, example):
    job_id = server.curl(SUBMITS[example], client, {HOOK: server.hook_url("waits")}).json()["id"]
    said = server.until(lambda: (now := status(client, job_id)).get("reason") and now)
    assert (said["status"], len(said["reason"]) > 10) == ("queued", True)
    client.http.post(f"/job/{job_id}", json={"status": "cancelled", "remove_data": True})


def test_render_failure_is_told(server, client, tmp_path):
    odd = tmp_path / "sound.mp3"
    odd.write_text("this is no sound")
    body = {"audio_url": server.file_url(odd), "model": "tiny.en", "notify_url": server.hook_url("failed")}
    job_id = client.http.post("/whisper", json=body).json()["id"]
    said = ended(server, client, job_id)
    assert (said["status"], bool(said["error"])) == ("failed", True)
    assert client.http.get(f"/result/{job_id}").json() == said
    told = hook_of(server, "failed")
    assert (set(told), told["status"]) == ({"id", "status", "error"}, "failed")


def test_render_client_stops_a_running_job_and_its_data_goes(server, client):
    monologue = ["This sentence is one of very many that nobody is going to hear."] * 200
    job_id = client.http.post("/csm", json={"monologue": monologue}).json()["id"]
    server.until(lambda: status(client, job_id)["status"] == "running")
    asked = {"status": "cancelled", "error": "Nobody listens"}
    reply = client.http.post(f"/job/{job_id}", json=asked)
    assert (reply.status_code, reply.json()) == (200, {"message": f"Job {job_id} marked as cancelled"})
    assert status(client, job_id) == {"id": job_id, "status": "cancelled", "error": "Nobody listens"}
    server.until(lambda: not busy(server, job_id), 30)
    client.http.post(f"/job/{job_id}", json={"status": "failed", "remove_data": True})
    gone = client.http.get(f"/status/{job_id}")
    assert (gone.status_code, gone.json()) == (404, {"error": "Job not found"})


def busy(server, job_id):
    attempts = server.admin.get(f"/v1/jobs/{job_id}").json()["attempts"]
    workers = {one["id"]: one for one in server.admin.get("/v1/workers").json()["items"]}
    return any(workers[one["worker_id"]]["busy"] for one in attempts if one["worker_id"] in workers)


def test_render_job_that_has_ended_stays_as_it_is(client, spoken):
    reply = client.http.post(f"/job/{spoken}", json={"status": "failed"})
    assert (reply.status_code, reply.json()["status"]) == (200, "success")
    assert status(client, spoken)["status"] == "success"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/csm", {"text": "a", "monologue": ["b"]}, "monologue"),
        ("/csm", {"text": "a", "temperature": 2.1}, "temperature"),
        ("/csm", {"text": "a", "voice": "clone"}, "reference_audio_url"),
        ("/whisper", {"audio_url": SOUND, "model": "huge"}, "model"),
        ("/whisper", {}, "audio_url"),
        ("/portrait", {"image_url": SOUND}, "audio_url"),
        ("/analyze", {"image_url": "http://10.0.0.1/a.png"}, "image_url"),
        ("/analyze", {"image_url": SOUND, "max_time": 59}, "max_time"),
        ("/analyze", {"image_url": SOUND, "complete_in": 86_401}, "complete_in"),
    ],
)
def test_render_refusal_names_the_field(client, path, body, field):
    reply = client.http.post(path, json=body)
    assert reply.status_code == 400
    assert field in reply.json()["error"]


def test_render_portrait_says_each_missing_field(client):
    reply = client.http.post("/portrait", json={})
    assert reply.json()["errors"]["image_url"] == "Missing required field: image_url"


def test_render_id_must_be_an_id(client):
    for reply in (
        client.http.get("/status/JOB_ID"),
        client.http.get("/result/JOB_ID"),
        client.http.post("/job/JOB_ID", json={"status": "failed"}),
    ):
        assert (reply.status_code, reply.json()) == (400, {"error": "Invalid job ID format"})


def test_render_method_must_be_the_right_one(client):
    reply = client.http.get("/csm")
    assert (reply.status_code, list(reply.json())) == (405, ["error"])


def test_render_jobs_of_others_do_not_exist(server, client, spoken):
    other = server.person()
    for reply in (
        other.http.get(f"/status/{spoken}"),
        other.http.get(f"/result/{spoken}"),
        other.http.post(f"/job/{spoken}", json={"status": "failed", "remove_data": True}),
    ):
        assert (reply.status_code, reply.json()) == (404, {"error": "Job not found"})
    assert status(client, spoken)["status"] == "success"


def test_render_viewers_only_look(server):
    viewer = server.person("viewer")
    reply = viewer.http.post("/csm", json={"text": "Hello."})
    assert (reply.status_code, list(reply.json())) == (403, ["error"])


def test_render_wrong_key_is_refused(server):
    for header in ({"X-C3-RENDER-KEY": "wrong"}, {"Authorization": "Bearer wrong"}):
        reply = httpx.post(f"{server.url}/csm", json={"text": "Hello."}, headers=header, trust_env=False)
        assert (reply.status_code, list(reply.json())) == (401, ["error"])


def test_render_job_expires_in_the_queue(server, client, expiring):
    job_id, at = expiring
    assert time.monotonic() > at or status(client, job_id)["status"] == "queued"
    said = ended(server, client, job_id, at - time.monotonic() + 10)
    assert said == {
        "id": job_id,
        "status": "failed",
        "error": "Job expired before processing could begin",
    }
    told = hook_of(server, "expired")
    assert (told["id"], told["status"], set(told)) == (job_id, "failed", {"id", "status", "error"})
