"""Jobs: submitted once, listed in order, ended by a client or by a limit."""

import asyncio
from dataclasses import replace

import pytest
import store_world
from store_world import (
    JOB_FAULT,
    attempt_of,
    begun,
    claim,
    finish,
    job_of,
    moves_of,
    new_job,
    ready,
    report,
    submit,
)

from gpulease.contract.jobs import Phase
from orchestrator.store import rows
from orchestrator.store.errors import Duplicate
from scaling.states import AttemptState, JobState

store = store_world.store


async def test_a_job_comes_back_as_it_was_given(store):
    asked = new_job(
        at=5.0,
        model="small",
        features=("clone",),
        owner="ann",
        priority=7,
        providers=("local",),
        start_by=50.0,
        notify_url="https://example.org/hook",
        metadata={"täg": [1, None, "\ud83d"]},
        retry_of="some-job",
        input={"text": "héllo\x00", "n": 2**70},
    )
    [submitted] = await store.submit_jobs([asked])
    job = await job_of(store, asked.id)
    assert submitted == rows.Submitted(job, created=True)
    assert job.need == asked.need
    assert (job.input, job.metadata, job.state) == (asked.input, asked.metadata, JobState.QUEUED)
    assert (job.created_at, job.start_by, job.complete_by, job.max_time_s) == (5.0, 50.0, 3605.0, 1200.0)
    assert (job.retries, job.notify_url, job.retry_of) == (2, asked.notify_url, "some-job")
    assert (job.attempts, job.attempt_id, job.started_at, job.finished_at) == (0, None, None, None)


async def test_what_is_not_there_is_none(store):
    assert await store.get_job("nope") is None
    assert await store.get_attempt(1) is None
    assert await store.get_worker("nope") is None
    assert await store.cancel_job("nope", who="a", reason="b", now=1) is None
    assert await store.list_attempts("nope") == []
    assert await store.peek_next("nope") is None
    assert await store.submit_jobs([]) == []


async def test_a_known_key_gives_the_job_that_it_made(store):
    first = new_job(owner="ann", idempotency_key="k", request_hash="h1")
    again = replace(new_job(owner="ann", idempotency_key="k", request_hash="h1"), created_at=9.0)
    other = new_job(owner="ann", idempotency_key="k", request_hash="h2")
    foreign = new_job(owner="bob", idempotency_key="k", request_hash="h2")
    [made] = await store.submit_jobs([first])
    answers = await store.submit_jobs([again, other, foreign])
    assert [(one.job.id, one.created, one.conflict) for one in answers] == [
        (made.job.id, False, False),
        (made.job.id, False, True),
        (foreign.id, True, False),
    ]


async def test_a_key_may_repeat_within_a_batch(store):
    one, two = (new_job(idempotency_key="k", request_hash="h") for _ in range(2))
    answers = await store.submit_jobs([one, two])
    assert [(each.job.id, each.created) for each in answers] == [(one.id, True), (one.id, False)]


async def test_a_batch_is_queued_whole_or_not_at_all(store):
    taken = await submit(store)
    fresh = [new_job(), new_job()]
    with pytest.raises(Duplicate):
        await store.submit_jobs([*fresh, replace(new_job(), id=taken.id)])
    assert [await store.get_job(one.id) for one in fresh] == [None, None]
    assert len(await store.list_events()) == 1


async def test_a_failed_verb_undoes_only_itself(store):
    taken = await submit(store)
    good = [new_job() for _ in range(20)]
    bad = [replace(new_job(), id=taken.id) for _ in range(20)]
    verbs = [store.submit_jobs([one]) for pair in zip(good, bad, strict=True) for one in pair]
    answers = await asyncio.gather(*verbs, return_exceptions=True)
    assert [type(one) for one in answers[1::2]] == [Duplicate] * 20
    assert all(answer[0].created for answer in answers[0::2])
    assert len(await store.list_jobs(rows.JobFilter(), before=None, limit=100)) == 21


async def test_jobs_are_listed_newest_first_and_page_by_page(store):
    jobs = [await submit(store, at=float(at // 2), id=f"job-{at}") for at in range(7)]
    first = await store.list_jobs(rows.JobFilter(), before=None, limit=3)
    last = first[-1]
    rest = await store.list_jobs(rows.JobFilter(), before=(last.created_at, last.id), limit=100)
    assert [one.id for one in first + rest] == [one.id for one in reversed(jobs)]


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (rows.JobFilter(), {"a", "b", "c"}),
        (rows.JobFilter(state=JobState.CANCELLED), {"c"}),
        (rows.JobFilter(engine="whisper"), {"b"}),
        (rows.JobFilter(owner="ann"), {"a", "c"}),
        (rows.JobFilter(created_after=1.0), {"b", "c"}),
        (rows.JobFilter(owner="ann", state=JobState.QUEUED), {"a"}),
    ],
)
async def test_listings_are_filtered(store, which, found):
    await submit(store, at=1.0, id="a", owner="ann")
    await submit(store, "whisper", at=2.0, id="b", owner="bob")
    await submit(store, at=3.0, id="c", owner="ann")
    await store.cancel_job("c", who="ann", reason="enough", now=4.0)
    assert {one.id for one in await store.list_jobs(which, before=None, limit=10)} == found


async def test_cancelling_a_queued_job_ends_it(store):
    job = await submit(store)
    ended = await store.cancel_job(job.id, who="ann", reason="enough", now=7.0)
    assert ended == await job_of(store, job.id)
    assert (ended.state, ended.finished_at, ended.fault.code) == (JobState.CANCELLED, 7.0, "cancelled")
    assert ended.fault.message == "enough"
    assert await store.cancel_job(job.id, who="bob", reason="again", now=8.0) == ended
    [_, event] = await store.list_events(job_id=job.id)
    assert (event.who, event.reason, event.at, event.seq) == ("ann", "enough", 7.0, 2)


async def test_cancelling_a_running_job_makes_its_reports_stale(store):
    job = await submit(store)
    await ready(store)
    held = await begun(store)
    ended = await store.cancel_job(job.id, who="ann", reason="enough", now=7.0)
    assert (ended.state, ended.attempt_id, ended.attempts) == (JobState.CANCELLED, None, 1)
    assert (await attempt_of(store, held)).state is AttemptState.CANCELLED
    assert await report(store, held, Phase.INFERRING) is rows.Verdict.STALE
    assert await finish(store, held) is rows.Verdict.STALE
    assert await job_of(store, job.id) == ended


async def test_terminal_jobs_absorb_everything(store):
    await ready(store)
    job = await submit(store)
    held = await begun(store)
    await finish(store, held, fault=JOB_FAULT)
    ended = await job_of(store, job.id)
    assert await store.cancel_job(job.id, who="ann", reason="late", now=20.0) == ended
    assert await store.end_overdue_jobs(now=1e9) == []
    assert await store.lose_attempt(held.attempt_id, reason="late", now=20.0) is None
    assert await claim(store, at=20.0) is None
    assert await job_of(store, job.id) == ended


@pytest.mark.parametrize(
    ("start_by", "now", "limit"),
    [(None, 3600.0, "complete_in"), (30.0, 30.0, "start_within"), (30.0, 9e9, "complete_in")],
)
async def test_a_queued_job_past_its_limit_expires(store, start_by, now, limit):
    job = await submit(store, start_by=start_by)
    [ended] = await store.end_overdue_jobs(now=now)
    assert ended == await job_of(store, job.id)
    assert (ended.state, ended.fault.kind, ended.fault.code) == (JobState.EXPIRED, "job", "expired")
    assert limit in ended.fault.message
    assert await store.end_overdue_jobs(now=now) == []


async def test_no_job_ends_before_its_limit(store):
    await ready(store)
    await submit(store)
    await begun(store, at=1.0)
    await submit(store, start_by=30.0)
    assert await store.end_overdue_jobs(now=29.9) == []


async def test_a_job_once_started_has_met_its_start_by(store):
    await ready(store)
    job = await submit(store, start_by=30.0)
    held = await begun(store)
    await finish(store, held, fault=store_world.HOST_FAULT)
    assert await store.end_overdue_jobs(now=60.0) == []
    assert (await job_of(store, job.id)).state is JobState.QUEUED


@pytest.mark.parametrize(("now", "limit"), [(101.0, "max_time"), (3600.0, "complete_in")])
async def test_a_running_job_past_its_limit_is_timed_out(store, now, limit):
    await ready(store)
    job = await submit(store, max_time_s=100.0)
    held = await begun(store, at=1.0)
    assert await store.end_overdue_jobs(now=100.9) == []
    [ended] = await store.end_overdue_jobs(now=now)
    assert (ended.id, ended.state, ended.fault.code) == (job.id, JobState.TIMED_OUT, "timed_out")
    assert limit in ended.fault.message
    assert (await attempt_of(store, held)).state is AttemptState.TIMED_OUT
    assert await finish(store, held, at=now + 1) is rows.Verdict.STALE


async def test_max_time_counts_only_while_the_slot_is_held(store):
    await ready(store)
    await submit(store, max_time_s=100.0)
    held = await begun(store)
    await report(store, held, Phase.UPLOADING, at=90.0)
    assert await store.end_overdue_jobs(now=500.0) == []
    assert await finish(store, held, at=501.0) is rows.Verdict.APPLIED


async def test_a_thousand_overdue_jobs_at_once_and_no_more(store):
    await store.submit_jobs([new_job() for _ in range(1_001)])
    assert [len(await store.end_overdue_jobs(now=1e9)) for _ in range(3)] == [1_000, 1, 0]


async def test_every_move_of_a_job_is_one_event(store):
    await ready(store)
    job = await submit(store, owner="ann")
    held = await begun(store, at=1.0)
    await report(store, held, Phase.INFERRING, 0.1, message="step 1")
    await report(store, held, Phase.INFERRING, 0.5)
    await finish(store, held)
    events = await store.list_events(job_id=job.id)
    assert [(one.kind, one.before, one.after) for one in events] == [
        ("state", None, "queued"),
        ("state", "queued", "running"),
        ("phase", "preparing", "inferring"),
        ("state", "running", "succeeded"),
    ]
    assert [one.seq for one in events] == [1, 2, 3, 4]
    assert [one.who for one in events] == ["ann", "worker:w1", "worker:w1", "worker:w1"]
    assert events[1].data == {"attempt": held.attempt_id, "number": 1}
    assert await store.list_events(job_id=job.id, after=2) == events[2:]
    assert await store.list_events(job_id=job.id, limit=1) == events[:1]


async def test_events_can_be_read_by_worker_or_all_in_order(store):
    job = await submit(store)
    await ready(store)
    await begun(store)
    of_worker = await store.list_events(worker_id="w1")
    assert [one.after for one in of_worker] == ["intended", "creating", "ready", "running"]
    everything = await store.list_events()
    assert [one.id for one in everything] == sorted(one.id for one in everything)
    assert await store.list_events(after=everything[1].id) == everything[2:]
    assert await moves_of(store, job.id) == [(None, "queued"), ("queued", "running")]


async def test_a_key_tells_the_job_that_it_stands_for(store):
    asked = new_job(idempotency_key="again")
    [made] = await store.submit_jobs([asked])
    assert await store.find_submitted(asked.need.owner, "again") == made.job
    assert await store.find_submitted(asked.need.owner, "other") is None
    assert await store.find_submitted("somebody", "again") is None
