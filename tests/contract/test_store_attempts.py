"""Attempts: claimed in order, reported forward, finished once, run again elsewhere."""

import asyncio

import pytest
import store_world
from store_world import (
    HOST_FAULT,
    IMAGE_FAULT,
    JOB_FAULT,
    RESULT,
    SPEECH,
    attempt_of,
    begun,
    claim,
    finish,
    job_of,
    move,
    moves_of,
    ready,
    report,
    submit,
)

from gpulease.contract.jobs import Fault, Phase
from orchestrator.store import rows
from scaling.snapshot import Capability
from scaling.states import AttemptState, JobState, WorkerState

store = store_world.store
Verdict = rows.Verdict


async def test_a_claim_gives_the_job_and_its_first_attempt(store):
    job = await submit(store, at=1.0)
    await ready(store)
    claimed = await claim(store, at=2.0, nonce="n1")
    assert claimed.job == await job_of(store, job.id)
    assert (claimed.job.state, claimed.job.attempts, claimed.job.started_at) == (JobState.RUNNING, 1, 2.0)
    assert claimed.job.attempt_id == claimed.attempt.id
    assert await store.list_attempts(job.id) == [claimed.attempt]
    attempt = claimed.attempt
    assert (attempt.number, attempt.worker_id, attempt.incarnation, attempt.nonce) == (1, "w1", "i1", "n1")
    assert (attempt.phase, attempt.progress, attempt.reported_at) == (Phase.PREPARING, 0.0, 2.0)
    assert (await store.get_worker("w1")).claim_at == 2.0


async def test_an_empty_queue_gives_nothing_and_notes_the_claim(store):
    await ready(store)
    assert await claim(store, at=7.0) is None
    assert (await store.get_worker("w1")).claim_at == 7.0


async def test_a_repeated_nonce_gives_the_same_attempt_while_it_runs(store):
    for _ in range(2):
        await submit(store)
    await ready(store, capacity=2)
    first = await claim(store, nonce="n1")
    assert await claim(store, nonce="n1", at=9.0) == first
    await finish(store, rows.Held(first.attempt.id, "w1", "i1"))
    assert await claim(store, nonce="n1", at=11.0) is None
    assert (await claim(store, nonce="n2", at=11.0)).attempt.id != first.attempt.id


async def test_another_incarnation_gets_nothing(store):
    await submit(store)
    await ready(store, incarnation="i2")
    assert await claim(store, incarnation="i1") is None
    assert (await store.get_worker("w1")).claim_at is None


@pytest.mark.parametrize("state", ["intended", "creating", "draining", "stopping", "paused"])
async def test_only_a_ready_worker_gets_jobs(store, state):
    await submit(store)
    if state in ("intended", "creating"):
        await store.intend_worker(store_world.new_worker())
        if state == "creating":
            await store.move_worker("w1", move(WorkerState.CREATING, WorkerState.INTENDED), now=0)
    else:
        await ready(store)
        if state == "paused":
            await store.pause_worker("w1", paused=True, who="ops", now=1.0)
        else:
            await store.move_worker("w1", move(WorkerState(state), WorkerState.READY), now=1.0)
    assert await claim(store) is None
    assert await store.peek_next("w1") is None


async def test_a_resumed_worker_gets_jobs_again(store):
    await submit(store)
    await ready(store)
    assert await store.pause_worker("w1", paused=True, who="ops", now=1.0)
    assert await store.pause_worker("w1", paused=False, who="ops", now=2.0)
    assert await claim(store) is not None


async def test_a_lost_reply_is_repeated_even_after_a_pause(store):
    await submit(store)
    await ready(store)
    first = await claim(store, nonce="n1")
    await store.pause_worker("w1", paused=True, who="ops", now=2.0)
    assert await claim(store, nonce="n1") == first


async def test_capacity_counts_slots_and_uploading_frees_one(store):
    for _ in range(3):
        await submit(store)
    await ready(store, capacity=2)
    held = [await begun(store) for _ in range(2)]
    assert await claim(store) is None
    await report(store, held[0], Phase.UPLOADING, at=4.0)
    assert await claim(store) is not None
    assert await claim(store) is None


async def test_only_fitting_jobs_are_given(store):
    await submit(store, "whisper")
    await submit(store, model="huge")
    await submit(store, features=("song",))
    await submit(store, min_vram_gb=80.0)
    await submit(store, providers=("salad",))
    await submit(store, usd_per_hour_max=0.5)
    fitting = await submit(store, model="small", features=("clone",), min_vram_gb=8.0, providers=("local",))
    await ready(store, capacity=9)
    assert (await claim(store)).job.id == fitting.id
    assert await claim(store) is None


async def test_the_order_is_priority_then_deadline_then_age(store):
    last = await submit(store, at=1.0, low_priority=True)
    old = await submit(store, at=2.0)
    new = await submit(store, at=3.0)
    tight = await submit(store, at=4.0, complete_by=30.0)
    first = await submit(store, at=5.0, priority=1)
    await ready(store, capacity=9)
    got = [(await claim(store, at=6.0)).job.id for _ in range(5)]
    assert got == [one.id for one in (first, tight, old, new, last)]


async def test_warm_models_go_first_unless_others_are_urgent(store):
    cold = await submit(store, at=0.0, model="small")
    warm = await submit(store, at=1.0, model="large")
    await ready(store, capacity=9)
    assert (await claim(store, at=2.0, resident=("csm/large",))).job.id == warm.id
    await submit(store, at=3.0, model="large")
    assert (await claim(store, at=200.0, resident=("csm/large",))).job.id == cold.id


async def test_owners_share_fairly(store):
    for at in range(3):
        await submit(store, at=float(at), owner="ann")
    bobs = await submit(store, at=9.0, owner="bob")
    await ready(store, capacity=9)
    owners = [(await claim(store, at=10.0)).job.need.owner for _ in range(3)]
    assert owners == ["ann", "bob", "ann"]
    assert (await job_of(store, bobs.id)).state is JobState.RUNNING


async def test_what_is_past_its_limit_is_not_begun(store):
    await submit(store, start_by=30.0)
    later = await submit(store, at=1.0)
    await ready(store)
    assert (await claim(store, at=31.0)).job.id == later.id


async def test_peek_shows_the_next_job_and_takes_nothing(store):
    await ready(store)
    assert await store.peek_next("w1") is None
    job, after = await submit(store, at=0.0), await submit(store, at=1.0)
    assert await store.peek_next("w1") == await job_of(store, job.id)
    await begun(store)
    assert (await store.peek_next("w1")).id == after.id


async def test_progress_only_goes_forward(store):
    await submit(store)
    await ready(store)
    held = await begun(store)
    assert await report(store, held, Phase.INFERRING, 0.5, at=5.0, message="half") is Verdict.APPLIED
    assert await report(store, held, Phase.INFERRING, 0.3, at=6.0, message="less") is Verdict.APPLIED
    attempt = await attempt_of(store, held)
    assert (attempt.phase, attempt.progress, attempt.reported_at) == (Phase.INFERRING, 0.5, 6.0)
    await report(store, held, Phase.PREPARING, 0.9, at=7.0, message="old")
    attempt = await attempt_of(store, held)
    assert (attempt.phase, attempt.progress, attempt.message, attempt.reported_at) == (
        Phase.INFERRING,
        0.5,
        "less",
        7.0,
    )


async def test_uploading_frees_the_slot_once(store):
    await submit(store)
    await ready(store)
    held = await begun(store, at=1.0)
    await report(store, held, Phase.UPLOADING, 0.9, at=5.0)
    await report(store, held, Phase.UPLOADING, 0.95, at=6.0)
    attempt, worker = await attempt_of(store, held), await store.get_worker("w1")
    assert (attempt.slot_freed_at, attempt.state) == (5.0, AttemptState.RUNNING)
    assert worker.last_finish_at == 5.0
    [lease] = await store.list_leases(since=0.0)
    assert lease.busy_s == 4.0
    await finish(store, held, at=9.0)
    [lease] = await store.list_leases(since=0.0)
    assert (lease.busy_s, (await store.get_worker("w1")).last_finish_at) == (4.0, 9.0)


@pytest.mark.parametrize("wrong", [{"attempt_id": 99}, {"worker_id": "w2"}, {"incarnation": "i0"}])
async def test_a_report_of_somebody_else_is_stale(store, wrong):
    job = await submit(store)
    await ready(store)
    held = await begun(store)
    before = (await job_of(store, job.id), await attempt_of(store, held), await store.list_events())
    other = rows.Held(**{"attempt_id": held.attempt_id, "worker_id": "w1", "incarnation": "i1", **wrong})
    assert await report(store, other, Phase.INFERRING) is Verdict.STALE
    assert await finish(store, other) is Verdict.STALE
    assert (await job_of(store, job.id), await attempt_of(store, held), await store.list_events()) == before


async def test_a_result_ends_the_job(store):
    job = await submit(store)
    await ready(store)
    held = await begun(store, at=1.0)
    assert await finish(store, held, at=10.0) is Verdict.APPLIED
    job, attempt = await job_of(store, job.id), await attempt_of(store, held)
    assert (job.state, job.result, job.fault, job.finished_at) == (JobState.SUCCEEDED, RESULT, None, 10.0)
    assert job.attempt_id == attempt.id
    assert (attempt.state, attempt.phase, attempt.progress) == (AttemptState.SUCCEEDED, Phase.COMPLETED, 1.0)
    assert (attempt.ended_at, attempt.slot_freed_at) == (10.0, None)
    worker = await store.get_worker("w1")
    assert (worker.jobs_done, worker.last_finish_at) == (1, 10.0)


async def test_the_same_finish_again_is_repeated_and_another_is_stale(store):
    job = await submit(store)
    await ready(store)
    held = await begun(store)
    await finish(store, held)
    before = (await job_of(store, job.id), await store.list_events(), await store.get_worker("w1"))
    assert await finish(store, held, at=99.0) is Verdict.REPEATED
    assert await finish(store, held, fault=JOB_FAULT) is Verdict.STALE
    assert await finish(store, held, result=RESULT.model_copy(update={"text": "other"})) is Verdict.STALE
    assert (await job_of(store, job.id), await store.list_events(), await store.get_worker("w1")) == before


@pytest.mark.parametrize(("result", "fault"), [(None, None), (RESULT, JOB_FAULT)])
async def test_a_finish_is_a_result_or_a_fault(store, result, fault):
    await submit(store)
    await ready(store)
    held = await begun(store)
    with pytest.raises(ValueError, match="either a result or a fault"):
        await store.finish_attempt(held, result=result, fault=fault, now=2.0)
    assert (await attempt_of(store, held)).state is AttemptState.RUNNING


async def test_a_job_fault_is_not_retried(store):
    job = await submit(store)
    await ready(store)
    held = await begun(store)
    assert await finish(store, held, fault=JOB_FAULT) is Verdict.APPLIED
    job = await job_of(store, job.id)
    assert (job.state, job.fault, job.attempt_id, job.result) == (JobState.FAILED, JOB_FAULT, None, None)
    assert (await attempt_of(store, held)).fault == JOB_FAULT


async def test_a_host_fault_is_retried_on_another_worker_in_the_same_place(store):
    job = await submit(store, at=0.0)
    await ready(store)
    await ready(store, "w2")
    held = await begun(store)
    await submit(store, at=1.0)
    await finish(store, held, fault=HOST_FAULT)
    again = await job_of(store, job.id)
    assert (again.state, again.attempt_id, again.fault, again.attempts) == (JobState.QUEUED, None, None, 1)
    assert (again.created_at, again.need.avoid) == (0.0, ("w1",))
    assert (await claim(store, at=12.0)).job.id != job.id
    claimed = await claim(store, "w2", at=12.0)
    assert (claimed.job.id, claimed.attempt.number, claimed.job.started_at) == (job.id, 2, 1.0)
    assert await finish(store, held, fault=HOST_FAULT) is Verdict.REPEATED
    assert [one.state for one in await store.list_attempts(job.id)] == [
        AttemptState.FAILED,
        AttemptState.RUNNING,
    ]


async def test_retries_run_out(store):
    job = await submit(store, retries=1)
    for worker_id in ("w1", "w2"):
        await ready(store, worker_id)
        await finish(store, await begun(store, worker_id), fault=HOST_FAULT)
    ended = await job_of(store, job.id)
    assert (ended.state, ended.fault, ended.attempts) == (JobState.FAILED, HOST_FAULT, 2)


async def test_no_retry_past_the_deadline(store):
    job = await submit(store)
    await ready(store)
    await finish(store, await begun(store), fault=HOST_FAULT, at=3600.0)
    assert (await job_of(store, job.id)).state is JobState.FAILED


async def test_the_same_image_fault_on_two_hosts_fails_the_job(store):
    job = await submit(store, retries=9)
    other = Fault(kind="host", code="image_other", message="x")
    for worker_id, fault in (("w1", IMAGE_FAULT), ("w2", other), ("w3", IMAGE_FAULT)):
        await ready(store, worker_id)
        await finish(store, await begun(store, worker_id), fault=fault)
    assert (await job_of(store, job.id)).state is JobState.FAILED


async def test_the_same_other_fault_on_two_hosts_is_retried(store):
    job = await submit(store, retries=9)
    for worker_id in ("w1", "w2"):
        await ready(store, worker_id)
        await finish(store, await begun(store, worker_id), fault=HOST_FAULT)
    assert (await job_of(store, job.id)).state is JobState.QUEUED


async def test_the_last_eight_workers_are_avoided(store):
    job = await submit(store, retries=20)
    for number in range(10):
        await ready(store, f"w{number}")
        await finish(store, await begun(store, f"w{number}"), fault=HOST_FAULT)
    assert (await job_of(store, job.id)).need.avoid == tuple(f"w{number}" for number in range(2, 10))


async def test_a_lost_attempt_runs_again_and_its_zombie_changes_nothing(store):
    job = await submit(store)
    await ready(store)
    await ready(store, "w2")
    zombie = await begun(store, at=1.0)
    again = await store.lose_attempt(zombie.attempt_id, reason="silent", now=50.0)
    assert (again.id, again.state, again.need.avoid) == (job.id, JobState.QUEUED, ("w1",))
    winner = await begun(store, "w2", at=51.0)
    assert await finish(store, zombie, at=52.0) is Verdict.STALE
    assert await finish(store, winner, at=53.0) is Verdict.APPLIED
    assert await finish(store, zombie, at=54.0) is Verdict.STALE
    ended = await job_of(store, job.id)
    assert (ended.state, ended.attempt_id) == (JobState.SUCCEEDED, winner.attempt_id)
    lost = await attempt_of(store, zombie)
    assert (lost.state, lost.ended_at, lost.fault.code, lost.fault.message) == (
        AttemptState.LOST,
        50.0,
        "lost",
        "silent",
    )
    assert await store.lose_attempt(zombie.attempt_id, reason="again", now=60.0) is None
    assert (await moves_of(store, job.id))[2] == ("running", "queued")


async def test_all_attempts_of_a_worker_are_lost_but_those_kept(store):
    jobs = [await submit(store, at=float(at)) for at in range(3)]
    await ready(store, capacity=3)
    held = [await begun(store) for _ in range(3)]
    lost = await store.lose_attempts("w1", keep=(held[1].attempt_id,), reason="not held", now=9.0)
    assert lost == [jobs[0].id, jobs[2].id]
    states = [(await job_of(store, one.id)).state for one in jobs]
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.QUEUED]
    assert await store.lose_attempts("nope", keep=(), reason="x", now=9.0) == []


async def test_a_lost_attempt_without_a_retry_fails_the_job(store):
    job = await submit(store, retries=0, notify_url="https://example.org/hook")
    await ready(store)
    held = await begun(store)
    ended = await store.lose_attempt(held.attempt_id, reason="silent", now=9.0)
    assert (ended.state, ended.fault.code) == (JobState.FAILED, "lost")
    assert len(await store.list_deliveries(job.id)) == 1


async def test_many_claimers_get_each_another_job(store):
    jobs = {(await submit(store, at=float(at))).id for at in range(40)}
    for number in range(8):
        await ready(store, f"w{number}", capacity=9)
    claims = [claim(store, f"w{number % 8}") for number in range(56)]
    claimed = [one for one in await asyncio.gather(*claims) if one is not None]
    assert sorted(one.job.id for one in claimed) == sorted(jobs)
    assert len({one.attempt.id for one in claimed}) == 40


async def test_a_job_with_no_model_takes_any_of_the_engine(store):
    await submit(store)
    await ready(store, capabilities=(Capability("csm", "piper", ("small",)),))
    assert await claim(store) is not None
    assert SPEECH.engine == "csm"
