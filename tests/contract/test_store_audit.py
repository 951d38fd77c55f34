"""Every change that somebody asks for leaves one row: who, with which key, from where, and what it was."""

import pytest
import store_world
from store_world import BY, RESULT, add_project, add_user, audit_of, begun, finish, new_job, ready, submit

from orchestrator.store import people, rows
from orchestrator.store.errors import Duplicate
from scaling.states import JobState

store = store_world.store


async def test_a_row_says_who_and_what(store):
    await store.add_user(people.User("ann", "Ann", "viewer", 1.0, password_hash="argon2…"), by=BY)
    await store.change_user("ann", {"role": "admin", "password_hash": "other"}, by=BY, now=2.0)
    added, changed = await audit_of(store)
    assert (added.at, added.who, added.key_id, added.origin) == (1.0, "user:ops", "k1", "127.0.0.1")
    assert (added.what, added.target, added.before) == ("user.add", "ann", None)
    assert (changed.what, changed.before["role"], changed.after["role"]) == ("user.change", "viewer", "admin")
    assert changed.before == added.after
    assert changed.id > added.id


async def test_no_row_shows_a_secret(store):
    user = people.User("ann", "Ann", "viewer", 1.0, password_hash="argon2-secret")
    key = people.ApiKey("k1", "ann", "laptop", "viewer", "gpl_abcdefgh", "hash-secret", 1.0)
    await store.add_user(user, by=BY)
    await store.add_key(key, by=BY)
    await store.change_user("ann", {"password_hash": "argon2-secret-2"}, by=BY, now=2.0)
    await store.change_key("k1", {"hash": "hash-secret-2"}, by=BY, now=2.0)
    found = await audit_of(store)
    assert [one.what for one in found] == ["user.add", "key.add", "user.change", "key.change"]
    assert "secret" not in repr(found)


async def test_what_nobody_asked_for_leaves_no_row(store):
    await add_user(store)
    await add_project(store)
    await submit(store)
    await store.write_setting("policy", {}, who="start", now=1.0)
    assert await audit_of(store) == []


async def test_what_changes_nothing_leaves_no_row(store):
    await add_user(store)
    assert await store.change_user("ann", {"name": "Ann"}, by=BY, now=1.0) is not None
    assert await store.change_user("nope", {"name": "Ann"}, by=BY, now=1.0) is None
    with pytest.raises(Duplicate):
        await store.add_user(people.User("ann", "Ann", "viewer", 1.0), by=BY)
    assert await store.cancel_job("nope", who="a", reason="b", now=1.0, by=BY) is None
    assert not await store.pause_worker("nope", paused=True, who="a", now=1.0, by=BY)
    assert await audit_of(store) == []


async def test_one_row_for_a_submission_however_many_jobs(store):
    one, *many = [new_job(at=3.0, idempotency_key=f"k{number}") for number in range(4)]
    await store.submit_jobs([one], by=BY)
    await store.submit_jobs(many, by=BY)
    await store.submit_jobs([one], by=BY)
    await store.submit_jobs([one, new_job(at=4.0, id="last")], by=BY)
    await store.submit_jobs([], by=BY)
    found = [(row.what, row.at, row.target, row.after) for row in await audit_of(store)]
    assert found == [
        ("job.submit", 3.0, one.id, {"engine": "csm"}),
        ("job.submit", 3.0, many[0].id, {"jobs": 3}),
        ("job.submit", 4.0, "last", {"engine": "csm"}),
    ]


async def test_a_cancelled_job_says_what_its_client_says(store):
    await ready(store)
    job = await submit(store)
    held = await begun(store)
    ended = await store.cancel_job(
        job.id, who="ann", reason="too slow", now=5.0, code="client.timed_out", by=BY
    )
    assert (ended.state, ended.fault.code, ended.fault.message) == (
        JobState.CANCELLED,
        "client.timed_out",
        "too slow",
    )
    assert await store.cancel_job(job.id, who="ann", reason="again", now=6.0, by=BY) == ended
    assert await finish(store, held) is rows.Verdict.STALE
    [row] = await audit_of(store)
    assert (row.what, row.target, row.before, row.after) == (
        "job.cancel",
        job.id,
        {"state": "running"},
        {"state": "cancelled", "code": "client.timed_out"},
    )


async def test_a_finished_job_is_forgotten_with_all_that_hangs_on_it(store):
    await ready(store)
    job = await submit(store, idempotency_key="k", notify_url="https://example.org")
    waiting = await submit(store, at=1.0)
    assert await store.forget_job(job.id, now=1.0, by=BY) is None
    held = await begun(store)
    assert await store.forget_job(job.id, now=2.0, by=BY) is None
    await finish(store, held, result=RESULT)
    purged = await store.forget_job(job.id, now=20.0, by=BY)
    assert purged == rows.Purged(("k/a.wav",), (job.id,), 0)
    assert await store.forget_job(job.id, now=21.0, by=BY) is None
    assert await store.get_job(job.id) is None
    for left in (
        store.list_attempts(job.id),
        store.list_events(job_id=job.id),
        store.list_deliveries(job.id),
    ):
        assert await left == []
    assert [one.need for one in (await store.read_fleet()).groups] == [waiting.need]
    [again] = await store.submit_jobs([new_job(idempotency_key="k")])
    assert again.created
    [row] = await audit_of(store)
    assert (row.what, row.target, row.before["state"]) == ("job.forget", job.id, "succeeded")


async def test_pausing_and_settings(store):
    await ready(store)
    for paused in (True, True, False):
        await store.pause_worker("w1", paused=paused, who="ops", now=1.0, by=BY)
    await store.write_setting("policy", {"idle_s": 1}, who="ops", now=2.0, by=BY)
    await store.write_setting("policy", {"idle_s": 2}, who="ops", now=3.0, by=BY)
    found = [(row.what, row.target, row.before, row.after) for row in await audit_of(store)]
    assert found == [
        ("worker.pause", "w1", {"paused": False}, {"paused": True}),
        ("worker.resume", "w1", {"paused": True}, {"paused": False}),
        ("setting.write", "policy", {"value": None}, {"value": {"idle_s": 1}}),
        ("setting.write", "policy", {"value": {"idle_s": 1}}, {"value": {"idle_s": 2}}),
    ]


async def test_changes_that_no_verb_makes_are_recorded_too(store):
    await store.record_audit("login.refused", "ann", by=BY, now=5.0, after={"tries": (1, 2)})
    [row] = await audit_of(store)
    assert (row.what, row.before, row.after) == ("login.refused", None, {"tries": [1, 2]})


async def test_rows_are_filtered_and_paged(store):
    for number in range(6):
        by = people.By("user:ann" if number % 2 else "user:bob")
        await store.record_audit(f"what{number % 3}", f"t{number // 2}", by=by, now=float(number))

    async def ats(*, after=0, limit=100, **which):
        found = await store.list_audit(people.AuditFilter(**which), after=after, limit=limit)
        return [one.at for one in found]

    assert await ats() == [0, 1, 2, 3, 4, 5]
    assert await ats(who="user:ann") == [1, 3, 5]
    assert await ats(what="what1") == [1, 4]
    assert await ats(target="t1") == [2, 3]
    assert await ats(since=2.0, until=4.0) == [2, 3]
    assert await ats(who="user:ann", since=2.0, limit=1) == [3]
    [first, second] = await store.list_audit(people.AuditFilter(), limit=2)
    assert await ats(after=second.id, limit=2) == [2, 3]
    assert await ats(after=first.id, who="user:bob") == [2, 4]


async def test_rows_are_kept_for_400_days(store):
    day = 86_400.0
    for at in (0.0, day):
        await store.record_audit("what", "t", by=BY, now=at)
    await store.purge(finished_before=0.0, now=400 * day)
    assert len(await audit_of(store)) == 2
    await store.purge(finished_before=0.0, now=400.5 * day)
    assert [one.at for one in await audit_of(store)] == [day]
