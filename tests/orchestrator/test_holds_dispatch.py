"""Holds at the dispatcher: who is woken by a job, whom a plan leaves asleep, and that nobody sleeps over a job."""

import asyncio
import random
from uuid import uuid4

import pytest
import quota_town
from test_quotas_dispatch import settled

from gpulease.contract.agent import ClaimRequest
from orchestrator.jobs.dispatch import Dispatcher
from orchestrator.store import rows
from scaling.place import Patience, Stay, warm
from scaling.plan import Hold, Plan
from scaling.snapshot import Capability, Estimate, Estimates, JobGroup, Need, Running, Snapshot, WorkerView
from scaling.states import WorkerState

town = quota_town.town
SMALL = Need("csm", model="small")
LARGE = Need("csm", model="large")
WARM = ("csm/small",)
NOTHING_KNOWN = Estimates()
BUSY_WARM = WorkerView(
    "busy", "local", WorkerState.READY, resident=WARM, running=(Running("csm", "small", 1.0, 9.0),)
)


class Yard:
    """Workers of both models whose claims are parked, a queue, and plans made by hand."""

    def __init__(self, town):
        self.town = town
        self.begun = []
        self.dispatcher = Dispatcher(town.store, town.clock, self.begun.append)
        self.claims = []

    async def park(self, name, *resident, usd_per_hour=3.6):
        await self.town.worker(name, capacity=1, usd_per_hour=usd_per_hour)
        speech = (Capability("csm", "x", ("small", "large")),)
        said = rows.Registration("incarnation", speech, "cpu", 8.0, 1)
        assert await self.town.store.register_worker(name, said, now=self.town.clock.now())
        await self.ask(name, *resident)

    async def ask(self, name, *resident):
        """Its claim is parked, or gets something."""
        worker = await self.town.store.get_worker(name)
        had = len(self.begun)
        asked = ClaimRequest(incarnation="incarnation", nonce=uuid4().hex, wait_s=20, resident=resident)
        self.claims.append(asyncio.create_task(self.dispatcher.claim(worker, asked)))
        await settled(lambda: name in self.dispatcher.parked() or len(self.begun) > had)
        await self.rest()

    async def rest(self):
        """Until everybody who was woken has looked, and sleeps again."""
        await settled(lambda: not any(one.wake.is_set() for one in self.dispatcher._parked.values()))
        await self.town.store.read_fleet()
        await asyncio.sleep(0.02)

    async def store(self, need, count):
        now = self.town.clock.now()
        jobs = [rows.NewJob(str(uuid4()), need, {}, now, now + 3600, 1200) for _ in range(count)]
        await self.town.store.submit_jobs(jobs)

    async def submit(self, need=SMALL, count=1):
        """As `Submitter` does."""
        left = self.dispatcher.offer(need, count)
        await self.store(need, count)
        self.dispatcher.leave_to_plan([need] if left else [])
        await self.rest()

    async def plan(self, *holds, workers=(BUSY_WARM,), patience=None, estimates=NOTHING_KNOWN):
        self.dispatcher.look()
        fleet = await self.town.store.read_fleet()
        groups = tuple(JobGroup(one.need, one.count) for one in fleet.groups)
        snapshot = Snapshot(groups, tuple(workers), estimates=estimates)
        plan = Plan(holds=tuple(Hold(*one) for one in holds), patience=patience)
        self.dispatcher.follow(snapshot, plan)
        await self.rest()

    def who(self):
        return sorted(one.attempt.worker_id for one in self.begun)

    async def close(self):
        self.dispatcher.close()
        await asyncio.gather(*self.claims)


@pytest.fixture
async def yard(town):
    made = Yard(town)
    yield made
    await made.close()


async def test_a_warm_worker_is_woken_at_once_and_a_cold_one_where_no_busy_one_is_warm(yard):
    await yard.park("cold")
    await yard.park("warm", *WARM)
    await yard.submit()
    assert yard.who() == ["warm"]
    await yard.plan(workers=())
    await yard.submit()
    assert yard.who() == ["cold", "warm"]


async def test_what_a_busy_warm_worker_may_take_soon_is_left_to_the_plan(yard):
    await yard.park("cold")
    await yard.plan()
    await yard.submit()
    assert yard.who() == []
    await yard.plan((SMALL, 1))
    assert yard.who() == []
    await yard.plan()
    assert yard.who() == ["cold"]


async def test_what_a_busy_worker_still_loads_counts_as_what_it_has(yard):
    """Its heartbeats tell of the model only when it is there."""
    loading = WorkerView(
        "busy", "local", WorkerState.READY, running=(Running("csm", "small", 1.0, 9.0, loads=True),)
    )
    await yard.park("cold")
    await yard.plan(workers=(loading,))
    await yard.submit()
    assert yard.who() == []
    await yard.submit(LARGE)
    assert yard.who() == ["cold"]


async def test_more_than_a_plan_holds_go_to_cold_workers(yard):
    await yard.park("a")
    await yard.park("b")
    await yard.plan()
    await yard.submit(count=3)
    await yard.plan((SMALL, 2))
    assert len(yard.who()) == 1
    await yard.plan((SMALL, 2), workers=())
    assert len(yard.who()) == 1


async def test_a_cold_worker_that_comes_later_takes_nothing_that_is_held(yard):
    await yard.plan()
    await yard.submit(count=2)
    await yard.plan((SMALL, 1))
    await yard.park("a")
    assert yard.who() == ["a"]
    await yard.park("b")
    assert yard.who() == ["a"]
    await yard.park("warm", *WARM)
    assert yard.who() == ["a", "warm"]


async def test_when_the_warm_worker_dies_the_next_plan_offers_what_it_held(yard):
    await yard.park("cold")
    await yard.plan()
    await yard.submit()
    await yard.plan((SMALL, 1))
    await yard.plan(workers=())
    assert yard.who() == ["cold"]


async def test_a_warm_worker_that_takes_a_held_job_leaves_the_others_rest_as_it_was(yard):
    """Of three jobs two are held. One of them is taken: one is held, and one is anybody's."""
    await yard.plan()
    await yard.submit(count=3)
    await yard.plan((SMALL, 2))
    await yard.park("warm", *WARM)
    await yard.park("a")
    await yard.park("b")
    assert yard.who() == ["a", "warm"]


async def test_a_warm_worker_that_is_woken_counts_as_one_that_is_held_for(yard):
    """Of three jobs two are held. The warm worker takes one of those, and the cold one what is not held."""
    await yard.park("warm", *WARM)
    await yard.park("cold")
    await yard.store(SMALL, 3)
    yard.dispatcher.leave_to_plan([SMALL])
    await yard.plan((SMALL, 2))
    assert yard.who() == ["cold", "warm"]


async def test_a_plan_wakes_machines_that_stay_for_jobs_that_others_may_not_take(yard):
    """The job comes back with little time left. Who is woken first may not have it, and sleeps again."""
    stay = Stay(frozenset({("local", "cpu", 0.3)}), least_s=0.0, most_s=7200.0)
    patience = Patience(20.0, stays={("csm", "small"): stay})
    await yard.plan(workers=(), patience=patience)
    await yard.park("spot", *WARM, usd_per_hour=0.3)
    await yard.park("sure")
    await yard.submit()
    assert yard.who() == []
    await yard.plan(workers=(), patience=patience)
    assert yard.who() == ["sure"]


async def test_old_holds_count_no_more(yard):
    """The loop stalls; a worker that asks again gets the job."""
    await yard.plan()
    await yard.submit()
    await yard.plan((SMALL, 1))
    await yard.park("a")
    assert yard.who() == []
    yard.town.clock.advance(yard.dispatcher.holds.lasts_s)
    await yard.park("b")
    assert yard.who() == ["b"]


async def test_a_plan_that_fails_holds_nothing(yard):
    await yard.park("cold")
    await yard.plan()
    await yard.submit()
    await yard.plan((SMALL, 1))
    yard.dispatcher.unhold()
    await yard.rest()
    assert yard.who() == ["cold"]


async def test_what_was_left_to_a_plan_that_failed_is_not_forgotten(yard):
    await yard.park("cold")
    await yard.plan()
    await yard.submit()
    yard.dispatcher.look()
    yard.dispatcher.unhold()
    await yard.rest()
    assert yard.who() == ["cold"]


async def test_a_job_that_is_stored_after_the_look_waits_for_the_next_plan(yard):
    """The picture of the first plan may not have it."""
    await yard.park("cold")
    await yard.plan()
    assert yard.dispatcher.offer(SMALL)
    yard.dispatcher.look()
    await yard.store(SMALL, 1)
    yard.dispatcher.leave_to_plan([SMALL])
    yard.dispatcher.follow(Snapshot(workers=(BUSY_WARM,)), Plan())
    await yard.rest()
    assert yard.who() == []
    await yard.plan()
    assert yard.who() == ["cold"]


async def test_a_model_that_was_just_claimed_is_at_work(yard):
    """Before any plan has seen it: two jobs in a row do not load one model twice."""
    await yard.park("a")
    await yard.park("b")
    await yard.submit()
    await yard.submit()
    assert len(yard.who()) == 1
    await yard.submit(LARGE)
    assert len(yard.who()) == 2


async def test_any_model_of_the_engine_is_warm_for_a_job_that_names_none(yard):
    await yard.park("cold")
    await yard.plan()
    await yard.submit(Need("csm"))
    assert yard.who() == []
    await yard.plan(workers=())
    assert yard.who() == ["cold"]


async def test_waits_are_told_once_each_and_of_first_attempts_only(yard):
    waits = yard.dispatcher.waits
    await yard.submit(Need("csm"), count=2)
    yard.town.clock.advance(7)
    await yard.park("a")
    assert waits.take() == (7.0,)
    assert waits.take() == ()
    (first,) = yard.begun
    waits.note(first)
    assert waits.take() == ()
    now = yard.town.clock.now()
    assert await yard.town.store.lose_attempt(first.attempt.id, reason="a test", now=now)
    yard.town.clock.advance(5)
    await yard.park("b")
    await yard.park("c")
    assert len(yard.begun) == 3
    assert waits.take() == (12.0,)


async def test_a_wait_ends_where_the_service_begins_after_any_load(yard):
    loads = {("csm", "small", "cpu"): Estimate(20.0, 30.0)}
    await yard.plan(workers=(), estimates=Estimates(load=loads))
    await yard.submit(count=2)
    yard.town.clock.advance(7)
    await yard.park("warm", *WARM)
    await yard.park("cold", "csm/large")
    assert [one.attempt.loads for one in yard.begun] == [False, True]
    assert yard.dispatcher.waits.take() == (7.0, 27.0)


async def test_claims_go_by_the_patience_of_the_last_plan_as_long_as_it_is_believed(yard):
    """With it, the job that has waited longest is late and comes last; without, it comes first."""
    for _ in range(2):
        await yard.submit()
        yard.town.clock.advance(30)
        await yard.submit(LARGE)
        await yard.plan(workers=(), patience=Patience(20.0))
        await yard.park(uuid4().hex)
        await yard.park(uuid4().hex)
    assert [one.job.need for one in yard.begun] == [LARGE, SMALL] * 2
    await yard.submit()
    yard.town.clock.advance(30)
    await yard.submit(LARGE)
    await yard.plan(workers=(), patience=Patience(20.0))
    yard.town.clock.advance(yard.dispatcher.holds.lasts_s)
    assert yard.dispatcher.holds.patience() is None
    await yard.park("late")
    assert yard.begun[-1].job.need == SMALL


async def test_a_plan_that_fails_has_no_patience(yard):
    await yard.plan((SMALL, 1), patience=Patience(20.0))
    assert yard.dispatcher.holds.patience() == Patience(20.0)
    yard.dispatcher.unhold()
    assert yard.dispatcher.holds.patience() is None


@pytest.mark.parametrize("seed", range(3))
async def test_after_each_plan_nobody_sleeps_over_a_job_that_is_not_held(yard, seed):
    """Whatever was submitted, finished, held and not held any more before."""
    dice = random.Random(seed)
    for number in range(5):
        await yard.park(f"w{number}", *dice.choice([(), WARM, ("csm/large",)]))
    ended = 0
    for _ in range(25):
        for _ in range(dice.randrange(3)):
            await yard.submit(dice.choice([SMALL, LARGE]), dice.randrange(1, 3))
        if dice.random() < 0.5 and ended < len(yard.begun):
            done = yard.begun[ended]
            ended += 1
            await yard.town.finish(done)
            await yard.ask(done.attempt.worker_id, f"csm/{done.job.need.model}")
        holds = {need: dice.randrange(4) for need in (SMALL, LARGE) if dice.random() < 0.7}
        await yard.plan(*holds.items(), workers=dice.choice([(), (BUSY_WARM,)]))
        waiting = {one.need: one.count for one in (await yard.town.store.read_fleet()).groups}
        asleep = [spot.view.resident for spot in yard.dispatcher._parked.values()]
        for need, count in waiting.items():
            held = yard.dispatcher.holds.current().get(need, 0)
            assert not asleep or count <= held, (need, count, held)
            assert not any(warm(need, resident) for resident in asleep)
    assert ended
