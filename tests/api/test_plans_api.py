"""/v1/plan and /v1/plans: what was seen, decided and left; and `gpulease policy explain` on top of it."""

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from api_world import served

from orchestrator.plans.record import PlanRecord, explained
from orchestrator.plans.seen import ROWS_MAX
from orchestrator.store.memory import MemoryStore
from scaling.place import Patience
from scaling.plan import Hold, Launch, Plan
from scaling.policy import Policy
from scaling.snapshot import Estimate, Estimates, JobGroup, Need, Offer, Running, Snapshot, WorkerView
from scaling.states import WorkerState
from scaling.whatif.forecast import Day, Score, Slot
from scaling.whatif.learned import Learned, Rank, written

SMALL = Need("csm", model="small", owner="ann", project="secret film")


@pytest.fixture
async def look(world):
    """Looks once, with no turns of the loop's own."""
    await world.orchestrator.parts.loops.stop()
    return world.orchestrator.parts.reconciler.step


async def get(world, path, **params):
    reply = await world.http.get(path, params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_before_any_plan_there_is_nothing_to_explain(world):
    await world.orchestrator.parts.loops.stop()
    world.orchestrator.parts.reconciler.last = None
    assert (await get(world, "/v1/plan"))["at"] is None
    assert await get(world, "/v1/plans") == {"items": [], "next_before": None}


class Forgetful(MemoryStore):
    """Keeps no explanation of a plan."""

    async def record_plan(self, *_given, **_named):
        raise OSError("No space left on device")


async def test_a_plan_that_cannot_be_written_down_is_carried_out(settings):
    async with served(settings, Forgetful()) as world:
        await world.orchestrator.parts.loops.stop()
        agent = await world.agent()
        world.clock.advance(301)
        await agent.post("heartbeat", resident=[], attempts=[])
        assert await agent.claim() is None
        with pytest.raises(OSError, match="No space"):
            await world.orchestrator.parts.reconciler.step()
        (worker,) = (await world.orchestrator.parts.store.read_fleet()).workers
        assert worker.state is WorkerState.DRAINING


async def test_the_last_plan_says_what_it_saw_and_what_it_left(world, look):
    await world.agent()
    await world.submit()
    world.clock.advance(5)
    await look()
    plan = await get(world, "/v1/plan")
    assert plan["policy"]["name"] == world.orchestrator.parts.policy.current.name
    (worker,), (group,) = plan["seen"]["workers"], plan["seen"]["jobs"]
    assert (worker["provider"], worker["state"], worker["count"], worker["free_slots"]) == (
        "test",
        "ready",
        1,
        1,
    )
    assert (group["engine"], group["count"], group["oldest_age_s"]) == ("csm", 1, 5.0)
    assert plan["seen"]["budget"]["workers"] == 1
    assert (plan["holds"], plan["actions"], plan["blocked"]) == ([], [], [])
    assert {"look_again_s", "patience_s", "load_s"} <= plan.keys()
    assert any("Nothing launched though 1 job waiting: 1 free" in one for one in plan["not_done"])


async def test_plans_are_kept_when_their_blocks_are_new_and_not_while_they_stay(world, look):
    for _ in range(3):
        await look()
    assert (await get(world, "/v1/plans"))["items"] == []
    await world.submit()
    for _ in range(3):
        world.clock.advance(1)
        await look()
    (kept,) = (await get(world, "/v1/plans"))["items"]
    (block,) = kept["blocked"]
    assert (block["engine"], block["count"]) == ("csm", 1)
    assert block["reason"] in kept["not_done"]
    whole = await get(world, f"/v1/plans/{kept['id']}")
    assert whole["seen"]["jobs"][0]["engine"] == "csm"
    assert (whole["at"], whole["blocked"]) == (kept["at"], kept["blocked"])
    await world.agent()
    world.clock.advance(1)
    await look()
    assert [one["blocked"] for one in (await get(world, "/v1/plans"))["items"]] == [[], [block]]


async def test_plans_come_in_pages_and_by_time(world):
    store, now = world.orchestrator.parts.store, world.clock.now()
    record = {"policy": {"name": "whatif"}, "actions": [], "blocked": [], "seen": {}}
    ids = [await store.record_plan(record, at=now + number) for number in range(5)]
    page = await get(world, "/v1/plans", limit=2)
    assert [one["id"] for one in page["items"]] == ids[:2:-1]
    assert "seen" not in page["items"][0]
    rest = await get(world, "/v1/plans", limit=3, before=page["next_before"])
    assert ([one["id"] for one in rest["items"]], rest["next_before"]) == (ids[2::-1], None)
    until = datetime.fromtimestamp(now + 1.5, UTC).isoformat()
    assert (await get(world, "/v1/plans", until=until, limit=1))["items"][0]["id"] == ids[1]


@pytest.mark.parametrize(
    "params", [{"before": -1}, {"limit": 0}, {"limit": 201}, {"until": "2026-05-01T10:00"}]
)
async def test_a_wrong_page_is_refused_by_its_field(world, params):
    reply = await world.http.get("/v1/plans", params=params)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"].endswith(next(iter(params)))


async def test_what_never_was_is_not_found(world):
    assert (await world.http.get("/v1/plans/77")).status_code == 404
    assert (await world.http.get("/v1/plans/x")).status_code == 422


def machine(number, **facts):
    return WorkerView(f"w{number}", "salad", WorkerState.READY, "l4", usd_per_hour=0.3, **facts)


def record_of(snapshot, plan):
    return explained(PlanRecord(0.0, Policy(name="whatif"), snapshot, plan))


def test_a_record_has_what_was_used_and_says_nothing_of_whose_jobs_they_are():
    busy = machine(1, running=(Running("csm", "small", 1.0, 99.0, loads=True),))
    snapshot = Snapshot(
        groups=(JobGroup(SMALL, 3, 9.0, float("inf"), (9.0, 4.0, 1.0)),),
        workers=(busy, machine(2, idle_s=70.0)),
        offers=(Offer("salad", "l4", 0.3, (), cooled_s=12.0),),
        estimates=Estimates(
            service={("csm", "small", "l4"): Estimate(4, 5, 9), ("video", "", "l4"): Estimate(60, 70, 9)},
            load={("csm", "small", "l4"): Estimate(20, 30, 4)},
        ),
        waits_s=(3.0, 8.0),
    )
    plan = Plan(holds=(Hold(SMALL, 2),), look_again_s=1.25, patience=Patience(45.0, 20.0))
    made = record_of(snapshot, plan)
    text = json.dumps(made, allow_nan=False)
    assert "ann" not in text
    assert "secret film" not in text
    (alike,) = made["seen"]["workers"]
    assert (alike["count"], alike["running"], alike["loading_first"], alike["idle_s_max"]) == (2, 1, 1, 70.0)
    assert [one["engine"] for one in made["seen"]["estimates"]["service"]] == ["csm"]
    assert made["seen"]["jobs"][0]["median_age_s"] == 4.0
    assert (made["seen"]["began_since"], made["seen"]["waited_s_max"]) == (2, 8.0)
    assert (made["patience_s"], made["load_s"]) == (45.0, 20.0)
    assert made["holds"] == [
        {
            "engine": "csm",
            "model": "small",
            "queue": "default",
            "priority": 0,
            "low_priority": False,
            "count": 2,
        }
    ]
    not_done = " ".join(made["not_done"])
    assert "2 jobs of csm/small not given to cold machines" in not_done
    assert "1 idle machine kept, idle for 70 s" in not_done
    assert "salad/l4 not asked" in not_done
    assert "looks again in 1.2 s" in not_done


def test_a_record_has_a_bound_and_says_what_it_leaves_out():
    groups = tuple(JobGroup(Need("csm", model=f"m{n}"), 1, float(n)) for n in range(ROWS_MAX + 7))
    launches = tuple(Launch("salad", "l4", 0.3, 0.0, "jobs wait") for _ in range(ROWS_MAX + 2))
    made = record_of(Snapshot(groups), Plan(launches))
    assert (len(made["seen"]["jobs"]), made["seen"]["jobs_left_out"]) == (ROWS_MAX, 7)
    assert made["seen"]["jobs"][0]["model"] == f"m{ROWS_MAX + 6}"
    assert (len(made["actions"]), made["actions_left_out"]) == (ROWS_MAX, 2)
    assert made["not_done"] == []


def test_a_record_says_how_good_the_time_of_day_is_as_a_forecast():
    kind = ("salad", "l4", 0.3)
    days = {kind: Day(Slot(90.0), score=Score(300, 0.5, 1.25, 2.0))}
    memory = written(Learned(ranks={kind: (Rank(None),)}, days=days))
    said = record_of(Snapshot(now_s=100.0), Plan(memory=memory))["learned"][-1]
    assert "by the time of day is off by 0.50 machines, as many as 15 minutes ago by 1.25" in said
    assert said.endswith("the mean of a day by 2.00; it helps")


def test_a_record_says_what_the_policy_has_learned():
    kind = ("salad", "l4", 0.3)
    ranks = (Rank(None), Rank(90.0, (10.0, 20.0, 30.0)), Rank(40.0, (5.0,)))
    memory = written(Learned(log_price=math.log(1234.0), ranks={kind: ranks}))
    made = record_of(Snapshot(now_s=100.0), Plan(memory=memory))
    price, machines = made["learned"]
    assert price.startswith("a late job is worth 1234 s of a machine")
    assert machines.startswith("salad/l4 at $0.3/h: 1 needed now, 3 at most so far; the next not for 10 s, ")
    assert machines.endswith("its last 3 pauses took 20 s in the median, 9 of 10 within 28 s")
    assert record_of(Snapshot(), Plan(memory={"other": 1}))["learned"] == []


async def test_the_command_explains_the_last_plan_in_words(world, look, gpulease):
    await world.agent()
    await world.submit()
    world.clock.advance(5)
    await look()
    said = (await gpulease("policy", "explain")).out
    assert "1 workers test/cpu ready: 0 jobs run, 1 slots free" in said
    assert "1 jobs csm wait (priority 0): the oldest for 5.0 s" in said
    assert "Decided:\n  " in said
    assert "Not done:\n  Nothing launched though 1 job waiting" in said
    assert "Learned:\n  a late job is worth 700 s of a machine" in said
    assert json.loads((await gpulease("policy", "explain", "--json")).out)["seen"]["jobs"][0]["count"] == 1


async def test_the_command_finds_the_plan_that_held_at_a_time(world, look, gpulease):
    await world.submit()
    await look()
    then = datetime.fromtimestamp(world.clock.now(), UTC)
    said = (await gpulease("policy", "explain", "--at", (then + timedelta(hours=1)).isoformat())).out
    assert f"At {then.isoformat()}" in said
    assert "Not done:" in said
    assert (
        "kept"
        in (
            await gpulease("policy", "explain", "--at", (then - timedelta(hours=1)).isoformat(), status=1)
        ).err
    )
    assert "2026-05-01T14:30" in (await gpulease("policy", "explain", "--at", "noon", status=2)).err
