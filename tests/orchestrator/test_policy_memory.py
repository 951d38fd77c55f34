"""What a policy remembers is there after a restart, and is nothing where it is foreign or cannot be read."""

import json

import pytest
import quota_town
import structlog

from orchestrator.policy import MEMORY, MEMORY_BYTES_MAX, MEMORY_PERIOD_S, PolicyBook, PolicyMemory
from orchestrator.settings import SettingsError

town = quota_town.town
LEARNED = {"pools": {"csm": {"target": 3}}, "at_s": 12.5}


async def restarted(town):
    memory = PolicyMemory(town.store, town.clock)
    await memory.load()
    return memory


async def test_it_goes_on_after_a_restart(town):
    memory = PolicyMemory(town.store, town.clock)
    assert memory.of("qps") == {}
    await memory.keep("qps", LEARNED)
    assert memory.of("qps") == LEARNED
    assert (await restarted(town)).of("qps") == LEARNED


async def test_another_policy_finds_nothing(town):
    memory = PolicyMemory(town.store, town.clock)
    await memory.keep("qps", LEARNED)
    assert memory.of("whatif") == {}
    assert (await restarted(town)).of("whatif") == {}
    await memory.keep("whatif", {"n": 1})
    assert memory.of("qps") == {}


async def test_it_is_stored_now_and_then_and_at_the_end(town):
    memory = PolicyMemory(town.store, town.clock)
    await memory.keep("qps", {"n": 1})
    town.clock.advance(MEMORY_PERIOD_S - 1)
    await memory.keep("qps", {"n": 2})
    assert (await restarted(town)).of("qps") == {"n": 1}
    town.clock.advance(1)
    await memory.keep("qps", {"n": 3})
    assert (await restarted(town)).of("qps") == {"n": 3}
    await memory.keep("qps", {"n": 4})
    await memory.flush()
    assert (await restarted(town)).of("qps") == {"n": 4}
    assert [one.kind for one in await town.store.list_events()] == []


@pytest.mark.parametrize(
    "stored",
    [
        None,
        7,
        [],
        {},
        "",
        "no JSON",
        "[]",
        "7",
        '{"name": 7, "memory": {}}',
        '{"name": "qps", "memory": [1]}',
    ],
)
async def test_what_cannot_be_read_is_forgotten(town, stored):
    await town.store.note(MEMORY, stored, now=town.clock.now())
    assert (await restarted(town)).of("qps") == {}


@pytest.mark.parametrize(
    "memory", [{"x": float("nan")}, {"x": {1, 2}}, {"x": "y" * MEMORY_BYTES_MAX}, {1: {2: object()}}]
)
async def test_what_cannot_be_stored_is_still_known_until_the_end(town, memory):
    await town.store.note(MEMORY, json.dumps({"name": "qps", "memory": {"n": 1}}), now=town.clock.now())
    kept = PolicyMemory(town.store, town.clock)
    with structlog.testing.capture_logs() as told:
        await kept.keep("qps", memory)
    assert kept.of("qps") is memory
    assert [one["event"] for one in told] == ["policy_memory_not_stored"]
    assert (await restarted(town)).of("qps") == {"n": 1}


def test_settings_seed_the_policy(town):
    given = {
        "policy_name": "queue_length",
        "policy_aim": "cheap",
        "policy_target_p95_s": 90,
        "policy_knobs": "desired_queue_length=4, min_replicas=1",
    }
    policy = PolicyBook(town.store, town.clock, quota_town.settings_of(**given)).current
    assert (policy.name, policy.aim, policy.target_p95_s) == ("queue_length", "cheap", 90.0)
    assert policy.knobs == {"desired_queue_length": 4.0, "min_replicas": 1.0}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"policy_name": "nonesuch"}, "policy_name: .*there is no policy 'nonesuch'"),
        ({"policy_knobs": {"red": 1}}, "policy_knobs: .*'red' is no knob"),
    ],
)
def test_settings_that_make_no_policy_stop_the_start(town, given, says):
    with pytest.raises(SettingsError, match=says):
        PolicyBook(town.store, town.clock, quota_town.settings_of(**given))


@pytest.mark.parametrize("knobs", ["a", "a=", "a=b"])
def test_knobs_that_are_no_numbers_by_name_are_refused(knobs):
    with pytest.raises(ValueError, match="policy_knobs"):
        quota_town.settings_of(policy_knobs=knobs)
