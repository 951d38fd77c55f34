"""POST /v1/policy/try: this fleet's own jobs, replayed under two policies; and `gpulease policy try` on top of it."""

import asyncio
import json
import random

import psutil
import pytest
from api_world import served

from gpulease.contract.problems import ProblemError
from orchestrator.plans.compare import Trial
from orchestrator.plans.replay import boot_of, scenario_of, speeds_of, trace_of
from orchestrator.plans.trial import JOBS_MAX, run
from orchestrator.store.memory import MemoryStore
from orchestrator.store.past import PastJob
from orchestrator.store.rows import BootTime
from provider_clients.fake import FakeCloud
from scaling.policy import Policy
from scaling.simulate import Row, make_trace, read_scenario
from scaling.snapshot import Capability, Estimate, Need, Offer

SMALL = Need("csm", model="small")
OFFER = Offer("cloud", "l4", 0.5, (Capability("csm", models=("small",)),), count_max=5)


def past(at=0.0, *, need=SMALL, gpu_class="l4", seconds=10.0, load=None, start_by=None):
    return PastJob(need, at, at + 600.0, start_by, gpu_class, seconds, load)


def test_jobs_become_a_trace_in_the_time_of_a_usual_machine():
    jobs = [past(100.0, seconds=5.0), past(130.0, gpu_class="cpu", seconds=15.0, start_by=190.0)]
    speeds = speeds_of(jobs)
    assert speeds == {"l4": 0.5, "cpu": 1.5}
    first, second = trace_of(jobs, speeds).arrivals
    assert (first.t_s, first.service_s, first.model, first.complete_by_s) == (0.0, 10.0, "small", 600.0)
    assert (second.t_s, second.service_s, second.start_by_s) == (30.0, 10.0, 90.0)


def test_what_is_for_sale_becomes_a_scenario_with_the_boots_and_loads_that_were_seen():
    other = Offer("other", "cpu", 0.1, (Capability("video"),))
    jobs = [past(load=20.0), past(load=10.0), past()]
    boots = [BootTime("cloud", "l4", tuple(float(seconds) for seconds in range(10, 21)))]
    made = scenario_of([OFFER, other], jobs, boots, 5.0)
    (terms,) = made.offers
    assert (terms.provider, terms.usd_per_hour, terms.count_max, terms.fail_p) == ("cloud", 0.5, 5, 0.0)
    assert (terms.boot.median_s, terms.boot.p95_s) == (15.0, 19.5)
    assert (made.gpu_classes["l4"].load_s, made.loop.period_s) == (15.0, 5.0)
    assert scenario_of([other], jobs, boots, 5.0).offers == ()


def test_few_boots_say_less_than_what_the_provider_is_known_for():
    made = boot_of([1.0], Estimate(60.0, 90.0))
    known = made.known()
    assert known.mean_s == pytest.approx(60.0)
    assert known.p90_s == pytest.approx(90.0)
    assert boot_of([], Estimate(0.0, 0.0)).median_s > 0
    constant = boot_of([], Estimate(30.0, 30.0))
    assert constant.median_s == pytest.approx(constant.p95_s) == pytest.approx(30.0)


@pytest.fixture
async def world(settings):
    """One with a cloud that sells, whose loop does not turn."""
    clients = {"fake": FakeCloud(offered=(_speech_offer(),))}
    async with served(settings, MemoryStore(), clients) as found:
        await found.orchestrator.parts.loops.stop()
        yield found


def _speech_offer():
    return Offer("fake", "cpu", 0.36, (Capability("csm", "test", ("hibari",)),), count_max=9)


async def worked(world, count=6, *, seconds=20.0):
    """So many jobs came, and were done one after the other."""
    agent = await world.agent()
    for _ in range(count):
        await world.submit()
        assigned = await agent.claim()
        world.clock.advance(seconds)
        assert (await agent.finish(assigned)).status_code == 200


async def tried(world, status=200, *, policy=None, **body):
    reply = await world.http.post("/v1/policy/try", json={"policy": policy or {}, **body})
    assert reply.status_code == status, reply.text
    return reply.json()


async def test_the_same_policy_comes_to_the_same_and_another_to_something_else(world):
    await worked(world)
    shown = (await world.http.get("/v1/policy")).json()
    same = await tried(world, policy=shown, seeds=2)
    assert same["in_force"]["figures"] == same["tried"]["figures"]
    basis = same["based_on"]
    assert (basis["jobs"], basis["seeds"], basis["older_jobs_left_out"]) == (6, 2, False)
    assert (basis["service_s"], basis["work"]) == (120.0, [{"engine": "csm", "model": None, "jobs": 6}])
    assert basis["offers"][0]["usd_per_hour"] == 0.36
    assert same["not_modelled"]
    more = await tried(world, policy={"name": "static", "knobs": {"workers": 4}})
    assert more["tried"]["figures"]["launches"] == 4
    assert more["tried"]["figures"]["cost_usd"] > more["in_force"]["figures"]["cost_usd"] > 0
    assert (await world.http.get("/v1/policy")).json() == shown


async def test_only_the_jobs_of_the_hours_count(world):
    await worked(world, 2)
    world.clock.advance(7200)
    await worked(world, 3)
    assert (await tried(world, hours=1))["based_on"]["jobs"] == 3
    assert (await tried(world, hours=3))["based_on"]["jobs"] == 5


async def test_without_history_or_offers_there_is_nothing_to_try_it_on(world, settings):
    assert "more hours" in (await tried(world, 409))["detail"]
    async with served(settings, MemoryStore()) as unsold:
        await worked(unsold, 1)
        assert "for sale" in (await tried(unsold, 409))["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"hours": 0}, "hours"),
        ({"hours": 1e6}, "hours"),
        ({"seeds": 11}, "seeds"),
        ({"policy": {"name": "nonesuch"}}, "name"),
        ({"policy": {"name": "static", "knobs": {"red": 1}}}, "knobs"),
        ({"policy": {"target_p95_s": -1}}, "target_p95_s"),
        ({"colour": 1}, "colour"),
    ],
)
async def test_a_refusal_names_the_field(world, body, field):
    (fault,) = (await tried(world, 422, **body))["errors"]
    assert fault["field"].endswith(field)


async def test_one_at_a_time(world):
    await worked(world, 2)
    replies = await asyncio.gather(
        *(world.http.post("/v1/policy/try", json={"policy": {}, "seeds": 1}) for _ in range(2))
    )
    assert sorted(one.status_code for one in replies) == [200, 429]


def long_trial():
    dice = random.Random(1)
    rows = [Row(float(n), dice.expovariate(0.02), f"m{n % 20}") for n in range(JOBS_MAX)]
    return Trial(make_trace(rows), read_scenario("comput3"), (Policy(), Policy()), 10)


def children():
    return [one for one in psutil.Process().children() if "orchestrator.plans.compare" in one.cmdline()]


async def test_a_run_that_takes_too_long_is_ended_and_says_what_to_ask_for():
    with pytest.raises(ProblemError, match="fewer hours") as refused:
        await run(long_trial(), 1.0)
    assert refused.value.problem.status == 422
    assert children() == []


async def test_whoever_hangs_up_ends_the_run():
    asked = asyncio.create_task(run(long_trial(), 60.0))
    async with asyncio.timeout(10):
        while not children():
            await asyncio.sleep(0.02)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert children() == []


async def test_the_command_shows_both_side_by_side_and_what_that_is_based_on(world, gpulease):
    await worked(world)
    said = (
        await gpulease(
            "policy", "try", "--policy", "static", "--set", "workers=3", "--set", "limits.workers_max=5"
        )
    ).out
    assert "Based on 6 jobs of the last 24 h" in said
    assert "tried: static" in said
    assert "wait p95" in said
    assert "Not modelled:" in said
    found = json.loads(
        (await gpulease("policy", "try", "--set", "target_p95_s=45", "--hours", "2", "--json")).out
    )
    assert found["tried"]["policy"]["target_p95_s"] == 45
    assert found["tried"]["policy"]["idle_s"] == found["in_force"]["policy"]["idle_s"]
    assert found["based_on"]["hours"] == 2


async def test_the_command_says_what_is_wrong(world, gpulease):
    assert "no such setting" in (await gpulease("policy", "try", "--set", "colour=red", status=2)).err
    assert "no policy" in (await gpulease("policy", "try", "--policy", "nonesuch", status=2)).err
    assert "more hours" in (await gpulease("policy", "try", "--set", "idle_s=60", status=1)).err
