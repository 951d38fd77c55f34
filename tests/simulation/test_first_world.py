"""The first world: it stays within its limits, every job ends, nothing stays leased, and money is not burnt."""

from dataclasses import replace

import pytest
from world import Faults, World, arrivals

from scaling.policy import Limits, Policy
from scaling.snapshot import Capability, Need, Offer

HOURS = 0.75
ENGINES = (Capability("csm"), Capability("whisper"))
CLOUD = Offer("cloud", "a10", 1.0, ENGINES)
SALAD = Offer("salad", "a10", 0.5, ENGINES, boot_billed=False)
POLICY = Policy(
    limits=Limits(workers_max=8, usd_per_hour_max=6.0), idle_s=120.0, boot_s_max=400.0, create_s_max=200.0
)
ROUGH = Faults(refused=0.1, never_boots=0.1, reply_lost=0.1, life_s=900.0)
SEEDS = (1, 2, 3)
ECONOMY_SEEDS = range(1, 7)


def lived(seed, policy=POLICY, offers=(CLOUD,), faults=Faults()):  # noqa: B008
    world = World(seed, policy, offers, faults)
    for when, need, mean_s in arrivals(seed, HOURS):
        world.submit(when, need, mean_s)
    return world.run()


def assert_sound(world):
    assert [one for one in world.jobs if one.ended_at is None] == []
    assert world.present() == []
    assert all(one.gone_at is not None for one in world.machines if one.leased_at is not None)
    assert world.most <= world.policy.limits.workers_max


@pytest.mark.parametrize("name", ["whatif", "fixed"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_rough_world_loses_no_job_and_leaves_nothing_leased(seed, name):
    world = lived(seed, replace(POLICY, name=name), (CLOUD, SALAD), ROUGH)
    assert_sound(world)


def test_whatif_costs_less_than_one_launch_per_job_and_jobs_wait_no_longer():
    """Over all seeds together: in single worlds the random delay and second look of `fixed` may come out ahead."""
    whatif = [lived(seed) for seed in ECONOMY_SEEDS]
    fixed = [lived(seed, replace(POLICY, name="fixed")) for seed in ECONOMY_SEEDS]
    for world in (*whatif, *fixed):
        assert_sound(world)
    assert sum(one.leased_s() for one in whatif) < sum(one.leased_s() for one in fixed)
    assert sum(one.wait_s(0.95) for one in whatif) <= sum(one.wait_s(0.95) for one in fixed)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_paid_stays_near_what_is_used(seed):
    """Jobs of half a minute on machines that boot for one and idle for two: k is theirs, not the policy's."""
    world = lived(seed, replace(POLICY, idle_s=60.0))
    assert_sound(world)
    assert world.leased_s() <= 4.0 * world.busy_s()


@pytest.mark.parametrize("offers", [(CLOUD,), (SALAD,)])
def test_one_job_alone_costs_one_machine_and_goes_back_to_none(offers):
    world = World(7, POLICY, offers, Faults())
    world.submit(100.0, Need("csm"), 30.0)
    world.run()
    assert_sound(world)
    assert len(world.machines) == 1


def test_the_same_seed_is_the_same_world():
    one, two = lived(5, faults=ROUGH), lived(5, faults=ROUGH)
    assert (one.leased_s(), one.turns, one.now) == (two.leased_s(), two.turns, two.now)
