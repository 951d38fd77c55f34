"""Workers: intended, moved by the table, registered, heard from; leases and the fleet."""

import pytest
import store_world
from store_world import (
    HOST_FAULT,
    W,
    begun,
    claim,
    finish,
    job_of,
    move,
    new_worker,
    ready,
    registration,
    report,
    submit,
    worker_of,
)

from gpulease.contract.jobs import Phase
from orchestrator.store import rows
from orchestrator.store.errors import Duplicate
from orchestrator.store.protocol import GROUP_COUNT_MAX
from scaling.states import WORKER_MOVES, IllegalMove, JobState

store = store_world.store


async def test_an_intent_is_written_before_anything_is_bought(store):
    await store.intend_worker(new_worker(at=5.0, buy_at=20.0, gpu_class="l4", usd_per_hour=0.5))
    worker = await worker_of(store)
    assert (worker.state, worker.state_at, worker.intended_at, worker.buy_at) == (W.INTENDED, 5.0, 5.0, 20.0)
    assert (worker.gpu_class, worker.usd_per_hour, worker.key_hash) == ("l4", 0.5, "h")
    assert (worker.lease_from, worker.incarnation, worker.capacity, worker.boot_billed) == (
        None,
        None,
        1,
        True,
    )
    [event] = await store.list_events(worker_id="w1")
    assert (event.kind, event.before, event.after, event.reason) == ("worker", None, "intended", "demand")
    with pytest.raises(Duplicate):
        await store.intend_worker(new_worker())


@pytest.mark.parametrize("before", list(W))
@pytest.mark.parametrize("after", list(W))
async def test_a_move_outside_the_table_is_a_bug(store, before, after):
    if after in WORKER_MOVES[before]:
        return
    await store.intend_worker(new_worker())
    with pytest.raises(IllegalMove):
        await store.move_worker("w1", move(after, before), now=1.0)
    assert (await worker_of(store)).state is W.INTENDED


async def test_a_move_is_guarded_by_the_state(store):
    await store.intend_worker(new_worker())
    assert not await store.move_worker("w1", move(W.STOPPING, W.READY, W.DRAINING), now=1.0)
    assert not await store.move_worker("nope", move(W.CREATING, W.INTENDED), now=1.0)
    assert await store.move_worker("w1", move(W.CREATING, W.INTENDED), now=2.0)
    assert not await store.move_worker("w1", move(W.CREATING, W.INTENDED), now=3.0)
    assert (await worker_of(store)).state_at == 2.0
    assert len(await store.list_events(worker_id="w1")) == 2


async def test_a_whole_life(store):
    await store.intend_worker(new_worker())
    await store.move_worker("w1", move(W.CREATING, W.INTENDED), now=10.0)
    started = move(W.STARTING, W.CREATING, instance=rows.InstanceFacts("i-9", lease_ends_at=900.0))
    await store.move_worker("w1", started, now=12.0)
    assert await store.register_worker("w1", registration(vram_gb=24.0, capacity=3, gpu_class="l4"), now=40.0)
    worker = await worker_of(store)
    assert (worker.state, worker.ready_at, worker.heartbeat_at, worker.incarnation) == (
        W.READY,
        40.0,
        40.0,
        "i1",
    )
    assert (worker.instance_id, worker.lease_ends_at, worker.vram_gb, worker.capacity) == (
        "i-9",
        900.0,
        24.0,
        3,
    )
    assert (worker.gpu_class, worker.capabilities, worker.lease_from) == ("l4", (store_world.SPEECH,), 10.0)
    await store.move_worker("w1", move(W.DRAINING, W.READY), now=50.0)
    await store.move_worker("w1", move(W.STOPPING, W.READY, W.DRAINING), now=60.0)
    await store.move_worker("w1", move(W.GONE, W.STOPPING), now=70.0)
    worker = await worker_of(store)
    assert (worker.state, worker.lease_from, worker.lease_until) == (W.GONE, 10.0, 70.0)
    assert [one.after for one in await store.list_events(worker_id="w1")] == [
        "intended",
        "creating",
        "starting",
        "ready",
        "draining",
        "stopping",
        "gone",
    ]


async def test_a_lease_without_a_billed_boot_starts_when_it_is_ready(store):
    await store.intend_worker(new_worker(boot_billed=False))
    await store.move_worker("w1", move(W.CREATING, W.INTENDED), now=10.0)
    assert await store.list_leases(since=0.0) == []
    await store.register_worker("w1", registration(), now=40.0)
    [lease] = await store.list_leases(since=0.0)
    assert (lease.started_at, lease.ended_at) == (40.0, None)


async def test_what_was_never_bought_has_no_lease(store):
    await store.intend_worker(new_worker())
    await store.move_worker("w1", move(W.GONE, W.INTENDED), now=10.0)
    await store.intend_worker(new_worker("w2"))
    await store.move_worker("w2", move(W.CREATING, W.INTENDED), now=10.0)
    await store.move_worker("w2", move(W.GONE, W.CREATING), now=11.0)
    assert await store.list_leases(since=0.0) == []
    for worker_id in ("w1", "w2"):
        worker = await worker_of(store, worker_id)
        assert (worker.lease_from, worker.lease_until) == (None, None)


async def test_leases_that_ended_before_are_left_out(store):
    for worker_id, ended_at in (("w1", 50.0), ("w2", 60.0), ("w3", None)):
        await ready(store, worker_id, at=1.0, offer={"granularity_s": 60.0, "min_billed_s": 5.0})
        if ended_at is not None:
            await store.move_worker(worker_id, move(W.STOPPING, W.READY), now=ended_at - 1)
            await store.move_worker(worker_id, move(W.GONE, W.STOPPING), now=ended_at)
    leases = await store.list_leases(since=50.0)
    assert [(one.worker_id, one.ended_at) for one in leases] == [("w2", 60.0), ("w3", None)]
    assert leases[0] == rows.Lease("w2", "local", "cpu", 1.0, 1.0, 60.0, 60.0, 5.0, 0.0)


async def test_busy_seconds_are_summed_over_slots_however_attempts_end(store):
    for _ in range(3):
        await submit(store)
    await ready(store, capacity=3)
    one, two, three = [await begun(store, at=10.0) for _ in range(3)]
    await finish(store, one, at=15.0)
    await finish(store, two, fault=HOST_FAULT, at=20.0)
    await store.lose_attempt(three.attempt_id, reason="silent", now=30.0)
    [lease] = await store.list_leases(since=0.0)
    assert lease.busy_s == 5 + 10 + 20


async def test_the_same_incarnation_only_refreshes(store):
    await submit(store)
    await ready(store)
    held = await begun(store)
    events = await store.list_events()
    assert await store.register_worker("w1", registration(capacity=4), now=20.0)
    worker = await worker_of(store)
    assert (worker.capacity, worker.heartbeat_at, worker.ready_at) == (4, 20.0, 0.0)
    assert await store.list_events() == events
    assert await finish(store, held) is rows.Verdict.APPLIED


async def test_a_new_incarnation_loses_what_the_old_one_held(store):
    job = await submit(store)
    await ready(store)
    held = await begun(store)
    assert await store.register_worker("w1", registration("i2"), now=20.0)
    again = await job_of(store, job.id)
    assert (again.state, again.need.avoid) == (JobState.QUEUED, ("w1",))
    assert await finish(store, held, at=21.0) is rows.Verdict.STALE
    worker = await worker_of(store)
    assert (worker.incarnation, worker.ready_at, worker.claim_at, worker.state) == ("i2", 0.0, None, W.READY)
    assert await claim(store, incarnation="i1", at=22.0) is None


@pytest.mark.parametrize("state", [W.INTENDED, W.STOPPING, W.GONE])
async def test_a_worker_that_is_not_to_serve_cannot_register(store, state):
    await store.intend_worker(new_worker())
    if state is not W.INTENDED:
        await store.move_worker("w1", move(W.CREATING, W.INTENDED), now=1.0)
        await store.move_worker("w1", move(state, W.CREATING), now=2.0)
    assert not await store.register_worker("w1", registration(), now=3.0)
    assert not await store.register_worker("nope", registration(), now=3.0)
    assert (await worker_of(store)).state is state


async def test_a_draining_worker_keeps_draining_when_it_starts_again(store):
    await ready(store)
    await store.move_worker("w1", move(W.DRAINING, W.READY), now=1.0)
    assert await store.register_worker("w1", registration("i2"), now=2.0)
    assert (await worker_of(store)).state is W.DRAINING


async def test_a_drained_worker_finishes_what_it_has(store):
    await submit(store)
    await ready(store)
    held = await begun(store)
    await store.move_worker("w1", move(W.DRAINING, W.READY), now=2.0)
    assert await finish(store, held) is rows.Verdict.APPLIED


async def test_stopping_loses_running_attempts(store):
    job = await submit(store)
    await ready(store)
    await begun(store)
    await store.move_worker("w1", move(W.STOPPING, W.READY), now=9.0)
    assert (await job_of(store, job.id)).state is JobState.QUEUED
    [attempt] = await store.list_attempts(job.id)
    assert (attempt.state.value, attempt.fault.message) == ("lost", "because")


async def test_heartbeats_are_noted_in_a_batch(store):
    await ready(store)
    await ready(store, "w2")
    await ready(store, "w3")
    await store.move_worker("w3", move(W.STOPPING, W.READY), now=1.0)
    await store.intend_worker(new_worker("w4"))
    known = await store.record_beats(
        [
            rows.Beat("w1", "i1", 30.0, ("csm/small",), "hot"),
            rows.Beat("w2", "other", 30.0),
            rows.Beat("w3", "i1", 30.0),
            rows.Beat("w4", None, 30.0),
            rows.Beat("nope", None, 30.0),
        ]
    )
    assert known == {"w1": True, "w2": False, "w3": False, "w4": False, "nope": False}
    worker = await worker_of(store)
    assert (worker.heartbeat_at, worker.resident, worker.error) == (30.0, ("csm/small",), "hot")
    assert (await worker_of(store, "w2")).heartbeat_at == 0.0
    assert await store.record_beats([]) == {}


async def test_a_worker_of_the_first_generation_has_no_incarnation(store):
    await ready(store)
    assert await store.record_beats([rows.Beat("w1", None, 30.0)]) == {"w1": True}


async def test_small_notes(store):
    await ready(store)
    await store.note_claim("w1", now=33.0)
    for healthy in (True, False, False):
        await store.note_probe("w1", healthy=healthy)
    worker = await worker_of(store)
    assert (worker.claim_at, worker.probe_failures) == (33.0, 2)
    await store.note_probe("w1", healthy=True)
    assert (await worker_of(store)).probe_failures == 0


async def test_a_pause_is_one_event_however_often_it_is_asked_for(store):
    await ready(store)
    for _ in range(2):
        assert await store.pause_worker("w1", paused=True, who="ops", now=1.0)
    assert (await worker_of(store)).paused
    kinds = [one.kind for one in await store.list_events(worker_id="w1")]
    assert kinds.count("paused") == 1
    assert not await store.pause_worker("nope", paused=True, who="ops", now=1.0)


async def test_workers_are_listed_newest_first(store):
    for at in range(4):
        await store.intend_worker(new_worker(f"w{at}", at=float(at)))
    await store.move_worker("w3", move(W.GONE, W.INTENDED), now=9.0)
    shown = [one.id for one in await store.list_workers(include_gone=False, limit=2)]
    everything = [one.id for one in await store.list_workers(include_gone=True, limit=9)]
    assert (shown, everything) == (["w2", "w1"], ["w3", "w2", "w1", "w0"])


async def test_a_fleet_is_groups_workers_and_what_runs(store):
    await submit(store, at=3.0, start_by=20.0)
    await submit(store, at=1.0)
    await submit(store, "whisper", at=2.0)
    await submit(store, at=4.0, priority=5)
    await ready(store)
    await store.intend_worker(new_worker("w2"))
    await store.move_worker("w2", move(W.GONE, W.INTENDED), now=1.0)
    held = await begun(store, at=5.0)
    await report(store, held, Phase.UPLOADING)
    fleet = await store.read_fleet()
    assert [(one.need.engine, one.count, one.oldest_at, one.must_start_by) for one in fleet.groups] == [
        ("csm", 2, 1.0, 20.0),
        ("whisper", 1, 2.0, 3602.0),
    ]
    assert [one.id for one in fleet.workers] == ["w1"]
    [(attempt, job)] = fleet.attempts
    assert (attempt.id, attempt.slot_freed_at, job.need.priority) == (held.attempt_id, 5.0, 5)


async def test_groups_are_counted_up_to_a_bound(store):
    for _ in range(6):
        await store.submit_jobs([store_world.new_job() for _ in range(1_000)])
    [group] = (await store.read_fleet()).groups
    assert group.count == GROUP_COUNT_MAX


async def test_the_last_service_times_of_winners_are_kept(store):
    await ready(store, gpu_class="l4")
    for number in range(53):
        await submit(store, at=float(number), model="small", complete_by=1e9)
        held = await begun(store, at=1000.0)
        if number == 51:
            await report(store, held, Phase.UPLOADING, at=1007.0)
        await finish(store, held, at=1000.0 + number)
    await submit(store)
    await finish(store, await begun(store), fault=HOST_FAULT)
    [service] = (await store.read_fleet()).service
    assert (service.engine, service.model, service.gpu_class, len(service.seconds)) == (
        "csm",
        "small",
        "l4",
        50,
    )
    assert service.seconds[:3] == (52.0, 7.0, 50.0)


async def test_the_last_boot_times_are_kept(store):
    for number in range(52):
        await store.intend_worker(new_worker(f"w{number}", gpu_class="l4", boot_billed=number % 2 == 0))
        await store.move_worker(f"w{number}", move(W.CREATING, W.INTENDED), now=100.0)
        await store.register_worker(f"w{number}", registration(), now=100.0 + number)
    [boot] = (await store.read_fleet()).boot
    assert (boot.provider, boot.gpu_class) == ("local", "l4")
    assert boot.seconds == tuple(float(number) for number in range(51, 1, -1))
