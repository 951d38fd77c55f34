"""/v1/policy with aims, targets and knobs, and `gpulease policy` on top of it."""

import asyncio
import json

import pytest

from scaling.policies import POLICIES


async def put(world, **body):
    return await world.http.put("/v1/policy", json=body)


async def by_hand(world):
    """The loop, with no turns but those that a test takes."""
    await world.orchestrator.parts.loops.stop()
    return world.orchestrator.parts.reconciler


@pytest.mark.parametrize("name", sorted(POLICIES))
async def test_every_policy_may_be_named(world, name):
    assert (await put(world, name=name)).json()["name"] == name
    world.clock.advance(60)
    await world.submit()
    await world.orchestrator.parts.reconciler.step()


async def test_aim_and_target_are_kept_and_what_is_shown_may_be_put_back(world):
    shown = (await put(world, aim="cheap", target_p95_s=60)).json()
    assert (shown["aim"], shown["target_p95_s"], shown["knobs"]) == ("cheap", 60.0, {})
    assert (await put(world, **shown)).json() == shown
    assert world.orchestrator.parts.policy.current.target_p95_s == 60.0


async def test_knobs_are_those_of_the_named_policy(world):
    reply = await put(world, name="queue_length", knobs={"desired_queue_length": 4})
    assert reply.json()["knobs"] == {"desired_queue_length": 4.0}


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"aim": "free"}, "aim", "cheap"),
        ({"target_p95_s": 0}, "target_p95_s", "greater than 0"),
        ({"queue_wait_s": {"long-high": 0}}, "long-high", "greater than 0"),
        ({"target_p95_s": 1e9}, "target_p95_s", "86400"),
        ({"knobs": {"red": 1}}, "knobs", "red"),
        ({"name": "queue_length", "knobs": {"desired_queue_length": 0}}, "knobs", "from 1"),
        ({"name": "queue_length", "knobs": {"min_replicas": 9, "max_replicas": 3}}, "knobs", "max_replicas"),
        ({"name": "nonesuch", "knobs": {"x": 1}}, "name", "whatif"),
        ({"knobs": {str(number): 1 for number in range(65)}}, "knobs", "64"),
    ],
)
async def test_a_refusal_names_the_field_and_changes_nothing(world, body, field, says):
    before = (await world.http.get("/v1/policy")).json()
    reply = await put(world, **body)
    assert reply.status_code == 422
    (fault,) = reply.json()["errors"]
    assert fault["field"].endswith(field)
    assert says in fault["message"]
    assert (await world.http.get("/v1/policy")).json() == before


async def test_a_policy_remembers_from_look_to_look_and_another_begins_anew(world):
    reconciler = await by_hand(world)
    await world.agent()
    await put(world, name="queue_length")
    await world.submit()
    await reconciler.step()
    memory = reconciler.last.plan.memory
    assert memory
    world.clock.advance(1)
    await reconciler.step()
    assert reconciler.last.snapshot.memory == memory
    await put(world, name="concurrency")
    await reconciler.step()
    assert reconciler.last.snapshot.memory == {}


async def test_the_picture_has_ages_arrivals_and_waits(world):
    reconciler = await by_hand(world)
    for _ in range(2):
        await world.submit()
        world.clock.advance(5)
    await reconciler.step()
    seen = reconciler.last.snapshot
    (group,) = seen.groups
    assert (group.ages_s, seen.arrived, seen.waits_s) == ((10.0, 5.0), 2, ())
    agent = await world.agent()
    assigned = await agent.claim()
    await reconciler.step()
    assert reconciler.last.snapshot.waits_s == (10.0,)
    assert reconciler.last.snapshot.now_s == world.clock.now()
    assert [one.loads for worker in reconciler.last.snapshot.workers for one in worker.running] == [True]
    world.clock.advance(1)
    await agent.finish(assigned)
    await reconciler.step()
    assert reconciler.last.snapshot.waits_s == ()


async def test_the_loop_looks_again_when_the_plan_asks_for_it(world):
    """Its period is an hour, and nothing happens: a job is late in 0.2 s, and then late in 0.2 s again, as the
    clock of this world stands still.
    """
    await world.agent()
    await put(world, name="queue_delay", knobs={"scaler_value": 0.2})
    await world.submit()
    loops = world.orchestrator.parts.loops
    async with asyncio.timeout(10):
        while world.orchestrator.parts.reconciler.last is None or not _look_again_s(world):
            await asyncio.sleep(0.01)
        turns = loops.report()["reconcile"]["turns"]
        while loops.report()["reconcile"]["turns"] < turns + 3:
            await asyncio.sleep(0.01)


def _look_again_s(world):
    return world.orchestrator.parts.reconciler.last.plan.look_again_s


async def test_the_command_sets_what_is_named_and_shows_all(gpulease, world):
    said = await gpulease("policy", "set", "aim=fast", "limits.workers_max=20", "target_p95_s=45")
    assert "limits.workers_max" in said.out
    policy = world.orchestrator.parts.policy.current
    assert (policy.aim, policy.limits.workers_max, policy.target_p95_s) == ("fast", 20, 45.0)
    assert (policy.idle_s, policy.name) == (None, "whatif")
    await gpulease("policy", "set", "target_p95_s=none", "name=queue_length", "knobs.min_replicas=1")
    shown = json.loads((await gpulease("policy", "show", "--json")).out)
    assert (shown["target_p95_s"], shown["aim"]) == (None, "fast")
    assert (shown["name"], shown["knobs"]) == ("queue_length", {"min_replicas": 1.0})
    await gpulease("policy", "set", "name=whatif")
    assert world.orchestrator.parts.policy.current.knobs == {}


async def test_the_command_says_what_is_wrong(gpulease, world):
    assert "colour" in (await gpulease("policy", "set", "colour=red", status=1)).err
    assert "NAME=VALUE" in (await gpulease("policy", "set", "aim", status=2)).err
    assert "has no" in (await gpulease("policy", "set", "aim.x=1", status=2)).err
    assert world.orchestrator.parts.policy.current.aim == "balanced"
