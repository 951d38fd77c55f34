"""/v1/queues, and quotas as clients meet them: refused at the door, or held back with a reason."""

import asyncio

import pytest
from api_world import TTS, Agent
from people_world import people_of

from orchestrator.settings import Settings
from orchestrator.store.people import Quota, Subscription

JOB = {"engine": "csm", "input": {"text": "Hello there."}}


@pytest.fixture
def settings(tmp_path):
    """With a key by which owners' machines enrol."""
    return Settings(
        data=tmp_path,
        providers=("buffer",),
        INTERNAL_API_KEY="shared-secret",
        reconcile_period_s=3600,
        health_period_s=3600,
        _env_file=None,
    )


@pytest.fixture
def people(world):
    return people_of(world)


@pytest.fixture
def parts(world):
    return world.orchestrator.parts


async def give(parts, someone, **quota):
    """A subscription of their own."""
    now = parts.clock.now()
    wanted = Subscription(0, f"of {someone.id}", Quota(**quota))
    made = await parts.store.put_subscription(wanted, by=None, now=now)
    await parts.store.change_user(someone.id, {"subscription_id": made.id}, by=None, now=now)
    await parts.quotas.refresh()


async def queues(someone):
    reply = await someone.http.get("/v1/queues")
    assert reply.status_code == 200, reply.text
    found = {one.pop("name"): one for one in reply.json()["items"]}
    return {name: (one["running"], one["queued"], one["running_max"]) for name, one in found.items()}


async def submit(someone, **body):
    reply = await someone.http.post("/v1/jobs", json=JOB | body)
    assert reply.status_code == 202, reply.text
    return reply.json()


async def test_an_operator_bounds_a_queue_and_sees_everybodys_jobs(people, world):
    ops, ada = await people.add("operator"), await people.add("submitter")
    put = await ops.http.put("/v1/queues/long-high", json={"running_max": 1})
    assert (put.status_code, put.json()) == (
        200,
        {"name": "long-high", "running": 0, "queued": 0, "running_max": 1},
    )
    agent = await world.agent()
    other = await world.agent()
    jobs = [await submit(ada, queue="long-high") for _ in range(3)]
    short = await submit(ada, queue="short-low")
    first = await agent.claim()
    assert first["job_id"] == jobs[0]["id"]
    assert (await other.claim())["job_id"] == short["id"]
    assert await queues(ops) == {"long-high": (1, 2, 1), "short-low": (1, 0, None)}
    third = await world.agent()
    assert await third.claim() is None
    assert (await agent.finish(first)).status_code == 200
    assert (await third.claim())["job_id"] == jobs[1]["id"]
    lifted = await ops.http.put("/v1/queues/long-high", json={"running_max": None})
    assert lifted.json() == {"name": "long-high", "running": 1, "queued": 1, "running_max": None}
    assert (await agent.claim())["job_id"] == jobs[2]["id"]


async def test_others_see_their_own_jobs_only(people):
    ops, ada, bob = await people.add("operator"), await people.add("submitter"), await people.add("viewer")
    await ops.http.put("/v1/queues/night", json={"running_max": 4})
    await submit(ada, queue="secret-film")
    assert await queues(ada) == {"night": (0, 0, 4), "secret-film": (0, 1, None)}
    assert await queues(bob) == {"night": (0, 0, 4)}
    assert await queues(ops) == {"night": (0, 0, 4), "secret-film": (0, 1, None)}


async def test_members_see_their_projects_jobs(people):
    ada, bob = await people.add("submitter"), await people.add("submitter")
    project = (await ada.http.post("/v1/projects", json={"name": "Film"})).json()["id"]
    await ada.http.put(f"/v1/projects/{project}/members/{bob.id}", json={"right": "read"})
    await submit(ada, queue="film", project=project)
    assert await queues(bob) == {"film": (0, 1, None)}


async def test_the_list_has_pages(people):
    ops = await people.add("operator")
    for name in ("c", "a", "b"):
        await ops.http.put(f"/v1/queues/{name}", json={"running_max": 1})
    first = (await ops.http.get("/v1/queues?limit=2")).json()
    assert [one["name"] for one in first["items"]] == ["a", "b"]
    rest = (await ops.http.get("/v1/queues", params={"cursor": first["next_cursor"]})).json()
    assert [one["name"] for one in rest["items"]] == ["c"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("Long High", {"running_max": 1}, "name"),
        ("a" * 65, {"running_max": 1}, "name"),
        ("long", {"running_max": -1}, "running_max"),
        ("long", {"running_max": 1.5}, "running_max"),
        ("long", {"running_max": 10**9}, "running_max"),
        ("long", {}, "running_max"),
        ("long", {"running_max": 1, "colour": "red"}, "colour"),
    ],
)
async def test_what_is_no_bound_is_refused_and_changes_nothing(people, name, body, field):
    ops = await people.add("operator")
    reply = await ops.http.put(f"/v1/queues/{name}", json=body)
    assert reply.status_code == 422
    assert [one["field"] for one in reply.json()["errors"]] == [field]
    assert await queues(ops) == {}


async def test_only_operators_bound_queues(people):
    ada = await people.add("submitter")
    assert (await ada.http.put("/v1/queues/mine", json={"running_max": 9})).status_code == 403
    assert (await people.nobody.put("/v1/queues/mine", json={"running_max": 9})).status_code == 401
    assert (await people.nobody.get("/v1/queues")).status_code == 401


async def test_who_changed_a_bound_is_in_the_audit(people):
    ops = await people.add("operator")
    await ops.http.put("/v1/queues/long", json={"running_max": 3})
    row = await people.audit(who=f"user:{ops.id}")
    assert (row.key_id, "long" in str(row.after)) == (ops.key.id, True)


async def test_a_submit_above_the_quota_is_refused_with_its_numbers(people, parts):
    ada, bob = await people.add("submitter"), await people.add("submitter")
    await give(parts, ada, queued_max=2)
    for _ in range(2):
        await submit(ada)
    reply = await ada.http.post("/v1/jobs", json=JOB)
    assert (reply.status_code, reply.json()["type"]) == (429, "/problems/quota")
    assert int(reply.headers["retry-after"]) > 0
    said = reply.json()
    assert (said["quota"], said["bound"], said["present"]) == ("queued_max", 2, 2)
    await submit(bob)
    listed = (await ada.http.get("/v1/jobs")).json()["items"]
    assert len(listed) == 2


async def test_fifty_submits_at_once_end_exactly_at_the_bound(people, parts):
    ada = await people.add("submitter")
    await give(parts, ada, queued_max=20)
    replies = await asyncio.gather(*(ada.http.post("/v1/jobs", json=JOB) for _ in range(50)))
    assert sorted(reply.status_code for reply in replies) == [202] * 20 + [429] * 30
    assert len((await ada.http.get("/v1/jobs")).json()["items"]) == 20


async def test_a_batch_is_taken_whole_or_not_at_all(people, parts):
    ada = await people.add("submitter")
    await give(parts, ada, queued_max=3)
    refused = await ada.http.post("/v1/jobs/batch", json={"jobs": [JOB] * 4})
    assert refused.status_code == 429
    assert (await ada.http.get("/v1/jobs")).json()["items"] == []
    taken = await ada.http.post("/v1/jobs/batch", json={"jobs": [JOB] * 3})
    assert taken.status_code == 202


async def test_a_held_job_shows_what_holds_it_and_begins_when_there_is_room(people, parts, world):
    ada, bob = await people.add("submitter"), await people.add("submitter")
    await give(parts, ada, running_max=1)
    agent, other = await world.agent(), await world.agent()
    jobs = [await submit(ada) for _ in range(2)]
    running = await agent.claim()
    waiting = asyncio.create_task(other.claim(wait_s=10))
    await parts.reconciler.step()
    shown = (await ada.http.get(f"/v1/jobs/{jobs[1]['id']}")).json()
    assert "At most 1 of this user's jobs run at once, and 1 run now" in shown["blocked"]
    job = await submit(bob)
    of_bob = await asyncio.wait_for(waiting, 5)
    assert of_bob["job_id"] == job["id"]
    # Or else a plan may hold the next job for it, as it has the model.
    assert (await other.finish(of_bob)).status_code == 200
    third = await world.agent()
    waiting = asyncio.create_task(third.claim(wait_s=10))
    while third.id not in parts.dispatcher.parked():
        await asyncio.sleep(0)
    assert (await agent.finish(running)).status_code == 200
    assert (await asyncio.wait_for(waiting, 5))["job_id"] == jobs[1]["id"]


async def test_a_leased_machine_serves_all_queues_and_an_owners_those_that_it_names(world, parts):
    leased = await world.agent()
    owned = Agent(world.http, "owned", "shared-secret", "incarnation-1")
    for agent in (leased, owned):
        (await agent.post("register", engines=[TTS], queues=["night"])).raise_for_status()
    assert (await parts.store.get_worker(leased.id)).queues == ()
    assert (await parts.store.get_worker("owned")).queues == ("night",)
    day, night = await world.submit(queue="day"), await world.submit(queue="night")
    assert (await owned.claim())["job_id"] == night["id"]
    assert (await leased.claim())["job_id"] == day["id"]


@pytest.mark.parametrize("queues", [["Long High"], ["q"] * 65, "night"])
async def test_a_worker_says_which_queues_by_their_names(world, queues):
    owned = Agent(world.http, "owned", "shared-secret", "incarnation-1")
    reply = await owned.post("register", engines=[TTS], queues=queues)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"].startswith("queues")


async def test_a_submit_repeated_at_the_bound_finds_its_job(world):
    people = people_of(world)
    someone, admin = await people.add("submitter"), await people.add("admin")
    quota = {"name": "Default", "quota": {"queued_max": 1}}
    assert (await admin.http.put("/v1/subscriptions/1", json=quota)).status_code == 200
    body, key = {"engine": "csm", "input": {"text": "Once."}}, {"Idempotency-Key": "once"}
    first = await someone.http.post("/v1/jobs", json=body, headers=key)
    again = await someone.http.post("/v1/jobs", json=body, headers=key)
    other = await someone.http.post("/v1/jobs", json=body)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert (other.status_code, other.json()["type"]) == (429, "/problems/quota")
    assert int(other.headers["retry-after"]) > 0
    for client in people.clients:
        await client.aclose()
