"""The emulated Salad's job queues: how jobs reach a container, what counts as success, and who is told of the end."""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from loopback_server import LoopbackServer
from salad.scene import GROUPS, ORGANIZATION, QUEUES, Scene, scene, until
from salad.webhooks import signature

pytestmark = pytest.mark.slow

APP = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class App(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, b"{}")
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print("job", self.headers["Salad-Job-Id"], self.path, json.dumps(asked), flush=True)
        time.sleep(asked.get("sleep", 0))
        if "once" in asked and not os.path.exists(asked["once"]):
            open(asked["once"], "w").close()
            return self.answer(503, b"{}")
        text = b"no json" if asked.get("text") else json.dumps({"got": asked}).encode()
        self.answer(asked.get("status", 200), text)
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(os.environ["GPULEASE_WORKER_PORT"])), App).serve_forever()
"""
PROBE = {
    "http": {"path": "/hc", "port": 8000, "scheme": "http", "headers": [{"name": "Accept", "value": "*/*"}]},
    "initial_delay_seconds": 0,
    "period_seconds": 1,
    "timeout_seconds": 1,
    "success_threshold": 1,
    "failure_threshold": 3,
}
JOBS = f"{QUEUES}/portrait/jobs"


@dataclass
class Listener:
    """Takes webhooks, after it has refused as many as it is told to."""

    url: str = ""
    refuse: int = 0
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request):
        self.seen.append((dict(request.headers), await request.body()))
        self.refuse -= 1
        return Response(status_code=500 if self.refuse >= 0 else 204)


@dataclass
class Queued(Scene):
    async def post(self, asked, **more):
        made = await self.http.post(JOBS, json={"input": asked, **more})
        assert made.status_code == 201, made.text
        return made.json()["id"]

    async def job(self, job_id):
        return (await self.http.get(f"{JOBS}/{job_id}")).json()

    async def until_status(self, job_id, *statuses):
        for _ in range(400):
            job = await self.job(job_id)
            if job["status"] in statuses:
                return job
            await asyncio.sleep(0.02)
        raise AssertionError(job)


@pytest.fixture
async def queued():
    """A queue with one container that serves it."""
    async with scene((sys.executable, "-c", APP)) as salad:
        assert (await salad.http.post(QUEUES, json={"name": "portrait"})).status_code == 201
        connection = {"queue_name": "portrait", "path": "/generate", "port": 8000}
        made = await salad.create(queue_connection=connection, readiness_probe=PROBE)
        assert made.status_code == 201, made.text
        yield Queued(salad.cloud, salad.http)


@pytest.fixture
async def listener():
    found = Listener()
    server = await LoopbackServer.start(Starlette(routes=[Route("/hook", found.take, methods=["POST"])]))
    found.url = f"http://{server.address}/hook"
    yield found
    await server.aclose()


def actions(job):
    return [event["action"] for event in job["events"]]


async def test_a_job_is_its_input_and_nothing_else(queued):
    job_id = await queued.post({"a": 1}, metadata={"id": "mine"})
    job = await queued.until_status(job_id, "succeeded")
    assert (job["output"], job["metadata"]) == ({"got": {"a": 1}}, {"id": "mine"})
    assert actions(job) == ["created", "started", "succeeded"]
    assert f'job {job_id} /generate {{"a": 1}}' in queued.cloud.log("g-1")
    attached = (await queued.http.get(f"{QUEUES}/portrait")).json()["container_groups"]
    assert [one["name"] for one in attached] == ["g-1"]


async def test_a_client_error_is_a_success(queued):
    job = await queued.until_status(await queued.post({"status": 422}), "succeeded", "failed")
    assert (job["status"], job["output"]) == ("succeeded", {"got": {"status": 422}})


@pytest.mark.parametrize("asked", [{"status": 500}, {"status": 429}, {"status": 408}, {"text": True}])
async def test_four_attempts_and_it_has_failed(queued, asked):
    job = await queued.until_status(await queued.post(asked), "failed", "succeeded")
    assert actions(job) == ["created", *["started"] * 4, "failed"]


async def test_a_passing_trouble_is_retried(queued, tmp_path):
    job_id = await queued.post({"once": str(tmp_path / "seen")})
    job = await queued.until_status(job_id, "succeeded", "failed")
    assert actions(job) == ["created", "started", "started", "succeeded"]


async def test_one_at_a_time_and_only_what_waits_can_be_cancelled(queued):
    first, second = await queued.post({"sleep": 0.6}), await queued.post({})
    await queued.until_status(first, "running")
    assert (await queued.job(second))["status"] == "pending"
    assert (await queued.http.delete(f"{JOBS}/{first}")).status_code == 400
    assert (await queued.http.delete(f"{JOBS}/{second}")).status_code == 202
    await queued.until_status(first, "succeeded")
    assert second not in queued.cloud.log("g-1")


async def test_an_interruption_uses_up_an_attempt(queued):
    job_id = await queued.post({"sleep": 1.0})
    await queued.until_status(job_id, "running")
    queued.cloud.interrupt("g-1")
    job = await queued.until_status(job_id, "succeeded", "failed")
    assert actions(job) == ["created", "started", "started", "succeeded"]


async def test_webhooks_are_signed_and_tried_three_times(queued, listener):
    listener.refuse = 2
    job_id = await queued.post({"a": 1}, webhook=listener.url)
    await until(lambda: len(listener.seen) == 3)
    secret = (await queued.http.get(f"{ORGANIZATION}/webhook-secret-key")).json()["secret_key"]
    ids = {headers["webhook-id"] for headers, _ in listener.seen}
    told = [Webhook(secret).verify(body, headers) for headers, body in listener.seen]
    assert (len(ids), {one["type"] for one in told}) == (1, {"queue.job.succeeded"})
    data = told[0]["data"]
    assert (data["id"], data["queue_name"], data["events"][0]["type"]) == (job_id, "portrait", "created")


async def test_webhooks_get_lost_and_come_twice(queued, listener):
    queued.cloud.knobs.next = ["webhook_lost"]
    await queued.until_status(await queued.post({}, webhook=listener.url), "succeeded")
    queued.cloud.knobs.next = ["webhook_twice"]
    twice = await queued.post({"status": 500}, webhook=listener.url)
    await queued.until_status(twice, "failed")
    await until(lambda: len(listener.seen) == 2)
    bodies = [json.loads(body) for _, body in listener.seen]
    assert [one["data"]["id"] for one in bodies] == [twice, twice]
    assert bodies[0]["type"] == "queue.job.failed"


async def test_a_cancelled_job_is_told_with_one_l(listener):
    async with scene() as salad:
        await salad.http.post(QUEUES, json={"name": "portrait"})
        await salad.http.post(f"{ORGANIZATION}/webhook-secret-key")
        job = (await salad.http.post(JOBS, json={"input": 1, "webhook": listener.url})).json()
        await salad.http.delete(f"{JOBS}/{job['id']}")
        await until(lambda: listener.seen)
        assert json.loads(listener.seen[0][1])["type"] == "queue.job.canceled"


async def test_a_lost_reply_leaves_a_job_behind(queued):
    queued.cloud.knobs.next = ["job_unknown"]
    assert (await queued.http.post(JOBS, json={"input": {}})).status_code == 502
    assert len((await queued.http.get(JOBS)).json()["items"]) == 1


async def test_stopped_groups_take_no_more_jobs(queued):
    await queued.until_running()
    await queued.http.post(f"{GROUPS}/g-1/stop")
    job_id = await queued.post({})
    await until(lambda: not any(one.billed for one in queued.cloud.live()))
    assert (await queued.job(job_id))["status"] == "pending"
    assert job_id not in queued.cloud.log("g-1")


def test_the_signature_of_a_known_message():
    """Made with the dummy key of the bytes 0 to 31."""
    secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    sent_at, body = datetime.fromtimestamp(1_700_000_000, UTC), '{"type":"queue.job.succeeded"}'
    ours = signature(secret, "msg_1", 1_700_000_000, body.encode())
    assert ours == Webhook(secret).sign("msg_1", sent_at, body)
