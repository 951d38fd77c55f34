"""Two users of one busy server, each prying at the other's jobs and uploads all the while: nothing leaks."""

import asyncio
import random
from dataclasses import dataclass, field

import httpx
import pytest
from up import Up

ADMIN_KEY = "two-tenants-admin-key-of-full-length"
JOBS = 100
AT_ONCE = 10
PATIENCE_S = 240
PRIED_MIN = 100
READS = (
    "/v1/jobs/{}",
    "/v1/jobs/{}/result",
    "/v1/jobs/{}/logs",
    "/v1/jobs/{}/events",
    "/status/{}",
    "/result/{}",
    "/jobs/{}",
    "/jobs/{}/result",
    "/download/{}",
    "/api/tasks/{}/status",
    "/api/render/tasks/{}",
    "/api/render/tasks/{}/logs",
    "/api/task/logger/{}",
    "/api/logs?taskId={}",
    "/api/resource/img/{}",
)
WRITES = (
    ("POST", "/v1/jobs/{}/cancel", None),
    ("POST", "/v1/jobs/{}/retry", None),
    ("DELETE", "/v1/jobs/{}", None),
    ("POST", "/job/{}", {"status": "cancelled", "remove_data": True}),
    ("POST", "/api/render/tasks/{}/cancel", None),
)
LISTS = (
    "/v1/uploads",
    "/v1/projects",
    "/v1/keys",
    "/v1/assets",
    "/v1/webhooks/deliveries",
    "/jobs",
    "/api/tasks_list?type=command",
    "/renderapi/v1/info",
)
SECRET = "this is {}'s alone"


@dataclass
class Tenant:
    """What one user made, and every answer that was not what it should have been."""

    name: str
    user_id: str
    http: httpx.AsyncClient
    jobs: list[str] = field(default_factory=list)
    upload: dict = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)
    pried: int = 0

    def note(self, what: str, reply: httpx.Response, expected: int = 404) -> None:
        self.pried += 1
        if reply.status_code != expected:
            self.leaks.append(f"{self.name}: {what}: {reply.status_code} {reply.text[:200]}")


@pytest.fixture
def up(tmp_path):
    settings = {
        "GPULEASE_ADMIN_KEY": ADMIN_KEY,
        "GPULEASE_REQUESTS_PER_S": "5000",
        "GPULEASE_POLICY_IDLE_S": "60",
    }
    server = Up(tmp_path, **settings)
    server.http.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
    yield server
    if server.process is not None and server.process.poll() is None:
        server.stop()
    server.http.close()
    server.log.close()


def tenant_of(up, name):
    made = up.http.post("/v1/users", json={"name": name, "role": "submitter"})
    assert made.status_code == 201, made.text
    user_id = made.json()["id"]
    key = up.http.post("/v1/keys", params={"user": user_id}, json={"name": "first"}).json()["key"]
    http = httpx.AsyncClient(
        base_url=str(up.http.base_url),
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        limits=httpx.Limits(max_connections=AT_ONCE),
    )
    return Tenant(name, user_id, http)


async def work(tenant):
    """Uploads a file and submits its jobs, many at once."""
    sent = await tenant.http.post("/v1/uploads", content=SECRET.format(tenant.name).encode())
    assert sent.status_code == 201, sent.text
    tenant.upload = sent.json()
    asked = {
        "engine": "command",
        "input": {"program": "sleepy", "arguments": {"seconds": 0.1}},
        "metadata": {"secret": SECRET.format(tenant.name)},
    }
    turn = asyncio.Semaphore(AT_ONCE // 2)

    async def submit():
        async with turn:
            reply = await tenant.http.post("/v1/jobs", json=asked)
        assert reply.status_code == 202, reply.text
        tenant.jobs.append(reply.json()["id"])

    await asyncio.gather(*(submit() for _ in range(JOBS)))


async def pry(tenant, other, over):
    dice = random.Random(tenant.name)
    while not over.is_set() or tenant.pried <= PRIED_MIN:
        if other.jobs:
            await pry_at_a_job(tenant, dice.choice(other.jobs))
        if other.upload:
            await pry_at_the_upload(tenant, other.upload)
        await look_at_lists(tenant, other)
        await asyncio.sleep(0.05)


async def pry_at_a_job(tenant, job_id):
    for path in READS:
        tenant.note(f"GET {path}", await tenant.http.get(path.format(job_id)))
    stream = {"Accept": "text/event-stream"}
    followed = await tenant.http.get(f"/v1/jobs/{job_id}/events", headers=stream)
    tenant.note("SSE", followed)
    for method, path, body in WRITES:
        tenant.note(f"{method} {path}", await tenant.http.request(method, path.format(job_id), json=body))
    ended = {"taskId": job_id, "error": "mine now"}
    for path in ("/api/render/terminate", "/api/logs/error-callback", "/api/render/client-callback"):
        tenant.note(path, await tenant.http.post(path, json=ended))


async def pry_at_the_upload(tenant, upload):
    path = f"/v1/uploads/{upload['id']}"
    for method, there in (
        ("GET", path),
        ("DELETE", path),
        ("GET", f"{path}/parts"),
        ("POST", f"{path}/complete"),
    ):
        tenant.note(f"{method} an upload", await tenant.http.request(method, there))
    used = {"engine": "whisper", "input": {"audio_url": upload["url"]}}
    tenant.note("an upload used", await tenant.http.post("/v1/jobs", json=used), 422)
    listened = {"audio_url": upload["url"]}
    tenant.note("an upload used by /whisper", await tenant.http.post("/whisper", json=listened), 400)


async def look_at_lists(tenant, other):
    """Every list shows one's own only, and none of the other's words."""
    texts = [(await tenant.http.get(path)).text for path in LISTS]
    params = {"limit": 60}
    while page := (await tenant.http.get("/v1/jobs", params=params)).json():
        texts.append(str(page))
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    tenant.pried += 1
    theirs = {*other.jobs, other.user_id, SECRET.format(other.name), other.upload.get("id", other.user_id)}
    if found := [secret for secret in theirs if any(secret in text for text in texts)]:
        tenant.leaks.append(f"{tenant.name} is shown {found[:3]}")
    load = (await tenant.http.get("/v1/me/limits")).json()["load"]
    queues = (await tenant.http.get("/v1/queues")).json()["items"]
    if max(load["queued"] + load["running"], sum(one["queued"] + one["running"] for one in queues)) > JOBS:
        tenant.leaks.append(f"{tenant.name} sees how busy the other is: {load} {queues}")


async def finish(tenant, over):
    """Until all of its jobs have ended; from then on nobody pries at them."""
    left = set(tenant.jobs)
    while left:
        page = (await tenant.http.get("/v1/jobs", params={"limit": 500})).json()["items"]
        left -= {job["id"] for job in page if job["finished_at"]}
        await asyncio.sleep(0.5)
    over.set()


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 60)
async def test_two_busy_tenants_see_nothing_of_each_other(up):
    await asyncio.to_thread(up.start)
    ada, bob = tenant_of(up, "ada"), tenant_of(up, "bob")
    ends = {"ada": asyncio.Event(), "bob": asyncio.Event()}

    async def whole(tenant):
        await work(tenant)
        await finish(tenant, ends[tenant.name])

    async with ada.http, bob.http, asyncio.timeout(PATIENCE_S):
        await asyncio.gather(whole(ada), whole(bob), pry(ada, bob, ends["bob"]), pry(bob, ada, ends["ada"]))
        for tenant in (ada, bob):
            assert not tenant.leaks, "\n".join(tenant.leaks[:20])
            assert tenant.pried > PRIED_MIN
            shown = (await tenant.http.get("/v1/jobs", params={"limit": 500})).json()["items"]
            assert sorted(job["id"] for job in shown) == sorted(tenant.jobs)
            assert {job["status"] for job in shown} == {"succeeded"}
            result = await tenant.http.get(f"/v1/jobs/{tenant.jobs[0]}/result")
            assert result.json()["files"]
            assert (await tenant.http.get(f"/v1/uploads/{tenant.upload['id']}")).status_code == 200
