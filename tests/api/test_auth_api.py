"""Who may call what over HTTP, how often, and what every answer tells browsers."""

import asyncio
import contextlib

import httpx
import pytest
from access_world import bearer, get, person

from orchestrator.access.issue import revoke_key
from orchestrator.access.rates import Rates
from orchestrator.app import Address, build, create_app
from orchestrator.clock import ManualClock
from orchestrator.settings import Settings
from orchestrator.store.memory import MemoryStore
from orchestrator.store.people import AuditFilter, Subscription

ROLES = ("viewer", "submitter", "operator", "admin")
FLEET = (
    ("GET", "/v1/workers"),
    ("GET", "/v1/plan"),
    ("GET", "/v1/policy"),
    ("GET", "/v1/providers"),
    ("GET", "/v1/costs"),
    ("GET", "/v1/leases"),
    ("POST", "/v1/workers/w-1/pause"),
    ("POST", "/v1/workers/w-1/drain"),
    ("POST", "/v1/providers/test/disable"),
)
NEEDS = {
    **dict.fromkeys(FLEET, "operator"),
    ("GET", "/v1/jobs"): "viewer",
    ("GET", "/v1/engines"): "viewer",
    ("POST", "/v1/jobs"): "submitter",
    ("POST", "/v1/uploads"): "submitter",
    ("PUT", "/v1/policy"): "admin",
    ("GET", "/v1/users"): "admin",
    ("GET", "/v1/audit"): "admin",
}
JOB = {"engine": "csm", "input": {"text": "Hello."}}
SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


def app_of(world):
    return world.http._transport.app


@pytest.mark.parametrize(("method", "path"), NEEDS)
async def test_each_route_lets_its_role_and_the_stronger_through(world, method, path):
    needed = ROLES.index(NEEDS[method, path])
    for role in ROLES:
        headers = (await person(world, role)).bearer
        reply = await world.http.request(method, path, headers=headers)
        if ROLES.index(role) >= needed:
            assert reply.status_code not in {401, 403}, (role, reply.text)
        else:
            assert reply.status_code == 403
            assert repr(NEEDS[method, path]) in reply.json()["detail"]
            assert repr(role) in reply.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/jobs", "jobs:read"),
        ("POST", "/v1/jobs", "jobs:write"),
        ("POST", "/v1/jobs/none/cancel", "jobs:write"),
        ("POST", "/v1/uploads", "uploads:write"),
        ("GET", "/v1/engines", "jobs:read"),
        ("GET", "/v1/costs", "fleet:read"),
        ("POST", "/v1/workers/w-1/pause", "fleet:write"),
        ("PUT", "/v1/policy", "fleet:write"),
        ("GET", "/v1/users", "people:read"),
        ("POST", "/v1/users", "people:write"),
        ("GET", "/v1/keys", "people:read"),
        ("POST", "/v1/keys", "people:write"),
    ],
)
async def test_a_key_with_scopes_does_what_they_name_and_no_more(world, method, path, scope):
    scopes = (
        "jobs:read",
        "jobs:write",
        "uploads:write",
        "fleet:read",
        "fleet:write",
        "people:read",
        "people:write",
    )
    others = await person(world, "admin", scopes=tuple(one for one in scopes if one != scope))
    refused = await world.http.request(method, path, headers=others.bearer)
    assert refused.status_code == 403
    assert scope in refused.json()["detail"]
    alone = await person(world, "admin", scopes=(scope,))
    assert (await world.http.request(method, path, headers=alone.bearer)).status_code not in {401, 403}


async def test_a_key_works_until_it_is_revoked_and_not_once_more(world):
    ann = await person(world)
    assert (await get(world, "/v1/jobs", ann.bearer)).status_code == 200
    parts = world.orchestrator.parts
    await revoke_key(parts.store, ann.key, by=None, now=parts.clock.now())
    refused = await get(world, "/v1/jobs", ann.bearer)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "revoked" in refused.json()["detail"]


async def test_a_session_goes_as_far_as_its_users_role(world):
    parts = world.orchestrator.parts
    ann = await person(world, "operator", "ann@example.com")
    await parts.access.sessions.set_password(ann.user, "a long password", None)
    session = await parts.access.sessions.login("ann@example.com", "a long password", "127.0.0.1")
    assert (await get(world, "/v1/costs", bearer(session.access))).status_code == 200
    assert (await get(world, "/v1/users", bearer(session.access))).status_code == 403
    assert (await get(world, "/v1/costs", bearer(session.refresh))).status_code == 401


async def test_an_email_with_its_token_is_a_credential(world):
    ann = await person(world, "submitter", "ann@example.com")
    good = {"email": "Ann@example.com", "token": ann.secret}
    assert (await get(world, "/v1/jobs", good)).status_code == 200
    for wrong in ({**good, "email": "bo@example.com"}, {**good, "token": "no"}, {"email": "ann@example.com"}):
        assert (await get(world, "/v1/jobs", wrong)).status_code == 401


async def test_what_operators_do_to_the_fleet_is_in_the_audit(world):
    root, agent = await person(world, "admin"), await world.agent()
    for method, path in (
        ("POST", f"/v1/workers/{agent.id}/pause"),
        ("POST", f"/v1/workers/{agent.id}/resume"),
        ("POST", f"/v1/workers/{agent.id}/drain"),
        ("POST", f"/v1/workers/{agent.id}/stop"),
        ("PUT", "/v1/policy"),
    ):
        reply = await world.http.request(method, path, json={}, headers=root.bearer)
        assert reply.status_code == 200, reply.text
    rows = await world.orchestrator.parts.store.list_audit(AuditFilter(who=f"user:{root.user.id}"))
    assert [row.what for row in rows] == [
        "worker.pause",
        "worker.resume",
        "worker.drain",
        "worker.stop",
        "setting.write",
    ]
    assert {(row.key_id, row.origin) for row in rows} == {(root.key.id, "127.0.0.1")}
    assert rows[2].before == {"state": "ready"}
    assert (await world.http.post("/v1/workers/none/stop", headers=root.bearer)).status_code == 404


async def test_who_asks_too_often_is_told_when_to_come_again(world):
    parts = world.orchestrator.parts
    slow = await parts.store.put_subscription(
        Subscription(0, "slow", requests_per_s=0.5), by=None, now=parts.clock.now()
    )
    ann = await person(world)
    await parts.store.change_user(ann.user.id, {"subscription_id": slow.id}, by=None, now=parts.clock.now())
    replies = [await get(world, "/v1/jobs", ann.bearer) for _ in range(21)]
    assert [one.status_code for one in replies] == [200] * 20 + [429]
    assert replies[-1].headers["retry-after"] == "2"
    assert replies[-1].json()["retry_after_s"] == 2
    assert "2 s" in replies[-1].json()["detail"]
    bo = await person(world)
    assert (await get(world, "/v1/jobs", bo.bearer)).status_code == 200
    world.clock.advance(2)
    assert (await get(world, "/v1/jobs", ann.bearer)).status_code == 200


async def test_workers_health_and_the_loopback_without_keys_are_not_counted(world):
    parts = world.orchestrator.parts
    parts.access.rates = Rates(parts.store, parts.clock, 1.0)
    agent = await world.agent()
    for _ in range(25):
        assert (await world.http.get("/v1/engines")).status_code == 200
        assert (await world.http.get("/livez")).status_code == 200
        assert (await agent.post("heartbeat")).status_code == 200


async def test_guessed_keys_are_slowed_by_address(world):
    ann = await person(world)
    replies = [await get(world, "/v1/jobs", bearer("a guess")) for _ in range(21)]
    assert [one.status_code for one in replies] == [401] * 20 + [429]
    assert int(replies[-1].headers["retry-after"]) == 3
    assert (await get(world, "/v1/jobs", ann.bearer)).status_code == 200


async def test_a_page_of_elsewhere_cannot_use_the_loopback_without_keys(world):
    evil = {"Origin": "https://evil.example.com"}
    assert (await world.http.post("/v1/jobs", json=JOB, headers=evil)).status_code == 401
    assert (await get(world, "/v1/jobs", {"Host": "rebound.example.com"})).status_code == 401
    assert (await get(world, "/v1/jobs", {"X-Forwarded-For": "203.0.113.5"})).status_code == 401
    assert (await world.http.post("/v1/jobs", json=JOB)).status_code == 202


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/jobs/nonesuch", "/nonesuch", "/", "/livez", "/docs", "/openapi.json"]
)
async def test_every_answer_tells_browsers_to_be_careful(world, path):
    reply = await get(world, path)
    assert SAFE.items() <= dict(reply.headers).items()
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in reply.headers


async def test_refusals_tell_them_too(world):
    await person(world)
    for reply in (
        await get(world, "/v1/jobs"),
        await world.http.post("/v1/jobs", content=b"{"),
        await world.http.post("/v1/jobs", content=b"", headers={"Content-Length": str(2**40)}),
    ):
        assert reply.status_code in {401, 413, 422}
        assert SAFE.items() <= dict(reply.headers).items()


async def test_what_breaks_here_tells_them_too(world):
    @app_of(world).get("/broken")
    async def broken() -> None:
        raise RuntimeError("something of ours")

    transport = httpx.ASGITransport(app_of(world), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://127.0.0.1") as http:
        reply = await http.get("/broken")
    assert reply.status_code == 500
    assert "something of ours" not in reply.text
    assert SAFE.items() <= dict(reply.headers).items()
    assert reply.headers["strict-transport-security"].startswith("max-age=")


async def test_the_reference_may_run_its_own_scripts_and_stored_files_none(world):
    assert "https://cdn.jsdelivr.net" in (await get(world, "/docs")).headers["content-security-policy"]
    stored = await get(world, "/files/nonesuch")
    assert "sandbox" in stored.headers["content-security-policy"]
    assert "script-src" not in (await get(world, "/")).headers["content-security-policy"]


async def test_events_flow_through_as_they_come(world):
    job = await world.submit()
    seen = asyncio.Queue()

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        seen.put_nowait(message)

    path = f"/v1/jobs/{job['id']}/events"
    headers = [(b"host", b"127.0.0.1"), (b"accept", b"text/event-stream")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    following = asyncio.create_task(app_of(world)(scope, receive, send))
    start = await asyncio.wait_for(seen.get(), 5)
    assert (b"x-content-type-options", b"nosniff") in start["headers"]
    first = await asyncio.wait_for(seen.get(), 5)
    assert b"queued" in first["body"]
    assert first["more_body"]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@contextlib.asynccontextmanager
async def pages_of(folder, *origins):
    settings = Settings(data=folder, providers=(), cors_origins=origins, _env_file=None)
    clock = ManualClock()
    orchestrator = await build(settings, Address(settings, 80), MemoryStore(), clock, {})
    app = create_app(orchestrator)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield http


async def test_pages_of_named_origins_may_call_and_no_others(tmp_path):
    async with pages_of(tmp_path, "https://ours.example.com") as http:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        ours = await http.options("/v1/jobs", headers={**asked, "Origin": "https://ours.example.com"})
        assert ours.status_code == 200
        assert ours.headers["access-control-allow-origin"] == "https://ours.example.com"
        assert "access-control-allow-credentials" not in ours.headers
        theirs = await http.options("/v1/jobs", headers={**asked, "Origin": "https://evil.example.com"})
        assert theirs.status_code == 400
        assert "access-control-allow-origin" not in theirs.headers
        read = await http.get("/v1/jobs", headers={"Origin": "https://ours.example.com"})
        assert read.headers["access-control-allow-origin"] == "https://ours.example.com"
        assert "Retry-After" in read.headers["access-control-expose-headers"]


async def test_without_named_origins_no_page_may_call(world):
    reply = await get(world, "/livez", {"Origin": "https://ours.example.com"})
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    ("path", "bound"),
    [
        ("/v1/jobs", True),
        ("/v1/uploads/parts", True),
        ("/v1/uploads/u/complete", True),
        ("/v1/uploads", False),
    ],
)
async def test_what_is_read_whole_has_a_bound_and_streams_count_for_themselves(world, path, bound):
    headers = {"Content-Type": "application/json", "Content-Length": str(17 * 1024**2)}
    reply = await world.http.post(path, content=b"{}", headers=headers)
    assert (reply.status_code == 413) is bound
