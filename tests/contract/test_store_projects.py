"""Projects, who is in them, and what of them is seen."""

from dataclasses import replace

import pytest
import store_world
from store_world import BY, add_project, add_user, audit_of, begun, finish, ready, submit

from orchestrator.store import people, rows
from orchestrator.store.errors import Duplicate, Missing
from scaling.states import JobState

store = store_world.store
Member = people.Member


async def test_a_projects_owner_may_write_to_it(store):
    await add_user(store)
    made = await add_project(store, quota=people.Quota(3, None, 1.5), data={"camera": [1, {"a": None}]})
    assert await store.get_project("p1") == made
    assert await store.get_project("nope") is None
    assert await store.list_members("p1") == [Member("p1", "ann", "write")]
    with pytest.raises(Duplicate):
        await add_project(store)
    with pytest.raises(Missing):
        await add_project(store, "p2", owner="nobody")
    assert await store.get_project("p2") is None


async def test_projects_are_listed_for_all_and_for_a_member(store):
    for name in ("ann", "bob"):
        await add_user(store, name)
    made = [
        await add_project(store, f"p{number}", owner="ann" if number < 3 else "bob") for number in range(4)
    ]
    await store.put_member(Member("p3", "ann", "read"), by=None, now=1.0)
    assert await store.list_projects() == made
    assert await store.list_projects(limit=2, after="p0") == made[1:3]
    assert await store.list_projects("bob") == made[3:]
    assert await store.list_projects("ann", after="p1") == made[2:]
    assert await store.memberships("ann") == [
        *(Member(f"p{number}", "ann", "write") for number in range(3)),
        Member("p3", "ann", "read"),
    ]


async def test_a_project_is_changed(store):
    await add_user(store)
    made = await add_project(store)
    wanted = {"name": "Film", "quota": people.Quota(running_max=2), "data": {"fps": 24}}
    assert await store.change_project("p1", wanted, by=BY, now=2.0) == replace(made, **wanted)
    assert await store.get_project("p1") == replace(made, **wanted)
    assert await store.change_project("nope", wanted, by=BY, now=2.0) is None
    with pytest.raises(Missing):
        await store.change_project("p1", {"owner": "nobody"}, by=BY, now=2.0)
    [row] = await audit_of(store)
    assert (row.what, row.target, row.before["data"], row.after["data"]) == (
        "project.change",
        "p1",
        {},
        {"fps": 24},
    )


async def test_members_come_and_go(store):
    for name in ("ann", "bob"):
        await add_user(store, name)
    await add_project(store)
    reader, writer = Member("p1", "bob", "read"), Member("p1", "bob", "write")
    assert await store.put_member(reader, by=BY, now=1.0)
    assert await store.put_member(reader, by=BY, now=2.0)
    assert await store.put_member(writer, by=BY, now=3.0)
    assert await store.list_members("p1") == [Member("p1", "ann", "write"), writer]
    assert await store.put_member(writer, by=BY, now=4.0, remove=True)
    assert not await store.put_member(writer, by=BY, now=5.0, remove=True)
    assert await store.memberships("bob") == []
    for unknown in (Member("p1", "nobody", "read"), Member("nope", "bob", "read")):
        assert not await store.put_member(unknown, by=BY, now=6.0)
    changes = [(one.what, one.at, one.before and one.before["right"]) for one in await audit_of(store)]
    assert changes == [
        ("member.put", 1.0, None),
        ("member.put", 3.0, "read"),
        ("member.remove", 4.0, "write"),
    ]


async def seen(store, who, *projects, before=None, limit=100, **which):
    asked = rows.JobFilter(seen_by=rows.Sight(who, projects), **which)
    return [one.id for one in await store.list_jobs(asked, before=before, limit=limit)]


async def shared_jobs(store):
    """Ann's, bob's and cat's, some of them in projects; the last was made last."""
    made = [("ann", ""), ("bob", ""), ("bob", "p1"), ("ann", "p1"), ("cat", "p2"), ("cat", ""), ("ann", "p2")]
    for number, (owner, project) in enumerate(made):
        await submit(store, at=float(number), id=f"j{number}", owner=owner, project=project, complete_by=1e6)


async def test_own_jobs_and_those_of_ones_projects_are_seen(store):
    await shared_jobs(store)
    assert await seen(store, "ann") == ["j6", "j3", "j0"]
    assert await seen(store, "ann", "p1") == ["j6", "j3", "j2", "j0"]
    assert await seen(store, "bob", "p1", "p2") == ["j6", "j4", "j3", "j2", "j1"]
    assert await seen(store, "nobody") == []
    assert await seen(store, "nobody", "") == []


async def test_what_is_seen_is_filtered_and_paged(store):
    await shared_jobs(store)
    assert await seen(store, "bob", "p1", "p2", limit=2) == ["j6", "j4"]
    assert await seen(store, "bob", "p1", "p2", limit=2, before=(4.0, "j4")) == ["j3", "j2"]
    assert await seen(store, "bob", "p1", project="p1") == ["j3", "j2"]
    assert await seen(store, "ann", "p1", project="p2") == ["j6"]
    assert await seen(store, "cat", project="p1") == []
    assert await seen(store, "bob", "p1", owner="ann") == ["j3"]
    assert await seen(store, "bob", "p1", owner="bob") == ["j2", "j1"]
    await store.cancel_job("j3", who="a", reason="b", now=9.0)
    assert await seen(store, "bob", "p1", state=JobState.CANCELLED) == ["j3"]
    assert await seen(store, "bob", "p1", created_after=2.0) == ["j3"]


async def test_jobs_are_listed_by_project(store):
    await shared_jobs(store)
    found = await store.list_jobs(rows.JobFilter(project="p2"), before=None, limit=9)
    assert [one.id for one in found] == ["j6", "j4"]
    assert [one.need.project for one in found] == ["p2", "p2"]
    assert await store.list_jobs(rows.JobFilter(project=""), before=None, limit=9) == []


async def test_the_load_of_an_owner_and_of_a_project(store):
    await shared_jobs(store)
    await ready(store, capacity=3)
    held = [await begun(store, at=10.0) for _ in range(3)]
    owners = [(await store.get_attempt(one.attempt_id)).job.need.owner for one in held]
    assert await store.load_of(owner="ann") == rows.Load(3 - owners.count("ann"), owners.count("ann"))
    both = await store.load_of(project="p1")
    assert both.queued + both.running == 2
    await finish(store, held[0], at=11.0)
    left = [await store.load_of(owner=name) for name in ("ann", "bob", "cat")]
    assert (sum(one.queued for one in left), sum(one.running for one in left)) == (4, 2)
    assert await store.load_of(owner="nobody") == rows.Load(0, 0)
    assert await store.load_of(project="") == rows.Load(0, 0)


async def test_a_worker_says_which_queues_it_serves(store):
    worker = await ready(store, queues=("short-low", "default"))
    assert worker.queues == ("short-low", "default")
    assert (await store.read_fleet()).workers[0].queues == worker.queues
    assert await store.register_worker("w1", store_world.registration("i2"), now=2.0)
    assert (await store.get_worker("w1")).queues == ()
