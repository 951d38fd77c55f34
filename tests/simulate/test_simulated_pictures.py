"""What a policy is shown: whole pictures in ages, of what has happened and of nothing else."""

import math
import random
from collections import defaultdict

import pytest
from small_traces import COMPUT3, WHATIF, busy_hour, constant

from scaling.estimate import LOAD_PRIOR, SERVICE_PRIOR, estimate, pool_estimate
from scaling.plan import Hold, Launch, Plan
from scaling.simulate import make_trace
from scaling.simulate.knowledge import SAMPLES_MAX
from scaling.simulate.log import silent
from scaling.simulate.looks import Looks
from scaling.simulate.machine import Run
from scaling.simulate.run import roomy
from scaling.simulate.trace import Row
from scaling.simulate.waiting import Waiting
from scaling.simulate.world import Begun, World
from scaling.snapshot import AGES_MAX, WorkerView
from scaling.states import WorkerState

ASKER = WorkerView("w-1", "cloud", WorkerState.READY)


class Watched:
    """A run, step by step, as the program's own loop makes it; `seen` is called with the world at every moment."""

    def __init__(self, rows, scenario=COMPUT3, log=silent):
        self.trace = make_trace(rows)
        self.world = World(scenario, self.trace, 4, log)
        self.looks = Looks(self.world, roomy(WHATIF, scenario), random.Random(4))

    def run(self, seen):
        coming = list(self.trace.arrivals)
        while self.world.tally.finished < len(self.trace.arrivals):
            arrival_s = coming[0].t_s if coming else math.inf
            if min(self.world.next_s(), arrival_s) > self.looks.due_s:
                self.looks.look()
            elif self.world.next_s() <= arrival_s:
                self.world.happen()
            else:
                self.world.arrive(coming.pop(0))
            if self.world.changed:
                self.looks.nudge()
            seen(self.world)


def test_a_view_whose_ages_were_moved_on_is_as_one_made_anew():
    states = set()

    def compare(world):
        for machine in world.machines.values():
            moved_on = machine.view(world.now_s)
            states.add((moved_on.state, bool(moved_on.running)))
            machine._view = None
            assert machine.view(world.now_s) == moved_on
            machine._view = moved_on

    Watched(busy_hour(), constant(lease_s_max=7200.0)).run(compare)
    assert len(states) >= 3


def test_estimates_are_those_of_what_has_finished():
    events, rows = [], busy_hour()
    watched = Watched(rows, log=events.append)

    def compare(world):
        ended = {one["job"] for one in events if one["e"] == "finish"}
        shown = world.knowledge.estimates()
        assert sum(one.samples for one in shown.service.values()) == len(ended)

    watched.run(compare)
    took_s, loads_s = defaultdict(list), defaultdict(list)
    switched = {one["job"] for one in events if one["e"] == "start" and one["switch_s"]}
    for job in (one["job"] for one in events if one["e"] == "finish"):
        key = ("comfyui", rows[job].model, "gpu")
        took_s[key].append(rows[job].service_s)
        if job in switched:
            loads_s[key].append(22.718)
    shown = watched.world.knowledge.estimates()
    for known, all_s, general in ((shown.service, took_s, SERVICE_PRIOR), (shown.load, loads_s, LOAD_PRIOR)):
        pool = pool_estimate([seconds[::-1] for seconds in all_s.values()], general)
        assert known.keys() == all_s.keys()
        for key, seconds in all_s.items():
            assert known[key].mean_s == pytest.approx(estimate(seconds, pool).mean_s, rel=0.05)
    boots_s = [one["t"] for one in events if one["e"] == "ready"]
    assert shown.boot["comput3", "gpu"].samples == len(boots_s)


def test_only_the_latest_samples_are_remembered():
    watched = Watched([Row(float(t_s), 1.0, "M") for t_s in range(SAMPLES_MAX + 50)], constant())
    watched.run(lambda _: None)
    (service,) = watched.world.knowledge.estimates().service.values()
    assert service.samples == SAMPLES_MAX


def test_waits_are_told_once_and_not_before_the_service_begins():
    begun = Begun()
    cold, warm, lost = (
        Run(one, claimed_at, load_s > 0, load_s, 10.0)
        for one, claimed_at, load_s in zip(
            arrivals(Row(0, 1, "M"), Row(1, 1, "M"), Row(2, 1, "M")), (8, 9, 9), (20.0, 0.0, 5.0), strict=True
        )
    )
    for run in (cold, warm, lost):
        begun.add(run)
    lost.dropped = True
    assert begun.until(8.5, None) == ()
    assert begun.until(20.0, None) == (8.0,)
    assert begun.until(40.0, None) == (28.0,)
    assert begun.until(50.0, None) == ()


def test_arrivals_are_counted_as_they_come():
    events = []
    watched = Watched(busy_hour(), log=events.append)
    watched.run(lambda world: counts(world, events))


def counts(world, events):
    assert world.arrived == sum(one["e"] == "arrival" for one in events)


def arrivals(*rows):
    return make_trace(list(rows)).arrivals


def test_ages_are_oldest_first_and_of_many_those_at_even_ranks():
    waiting = Waiting()
    for one in arrivals(*[Row(float(t_s), 1.0, "M") for t_s in range(100)]):
        waiting.add(one)
    (group,) = waiting.groups(100.0)
    assert (group.count, group.oldest_age_s, group.slack_s) == (100, 100.0, None)
    assert len(group.ages_s) == AGES_MAX
    assert (group.ages_s[0], group.ages_s[-1]) == (100.0, 1.0)
    steps = [before - after for before, after in zip(group.ages_s, group.ages_s[1:], strict=False)]
    assert set(steps) == {3.0, 4.0}


def test_a_group_shows_its_tightest_start_and_its_oldest_job():
    waiting = Waiting()
    for one in arrivals(Row(0, 1, "M"), Row(5, 1, "M", complete_in_s=50), Row(6, 1, "M", complete_in_s=20)):
        waiting.add(one)
    (group,) = waiting.groups(10.0)
    assert (group.count, group.slack_s, group.ages_s) == (3, 16.0, (10.0, 5.0, 4.0))
    assert waiting.take(group.need, 0.0, None, ASKER).row == 2
    (group,) = waiting.groups(10.0)
    assert group.slack_s == 45.0


def test_a_job_that_was_begun_has_met_its_start_and_keeps_its_place():
    waiting = Waiting()
    first, second = arrivals(Row(0, 1, "M", start_within_s=1.5), Row(1, 1, "M"))
    waiting.add(first)
    waiting.add(second)
    assert waiting.take(first.need, 0.0, None, ASKER) is first
    waiting.add(first)
    (group,) = waiting.groups(10.0)
    assert group.slack_s is None
    assert waiting.take(first.need, 0.0, None, ASKER) is first


def with_a_machine(rows, events):
    """A world whose one machine has run the first job, and is free since 45 s."""
    trace = make_trace(rows)
    world = World(constant(), trace, 0, events.append)
    world.intend(Launch("cloud", "gpu", 1.0, 0.0, "for the test"))
    world.buy(next(iter(world.machines.values())))
    world.arrive(trace.arrivals[0])
    while world.next_s() < math.inf:
        world.happen()
    return world, trace.arrivals[1:]


def begun(events):
    return [one["job"] for one in events if one["e"] == "start"]


def test_a_held_job_waits_for_a_warm_machine_until_the_hold_ends():
    events = []
    world, (cold,) = with_a_machine([Row(0, 10, "A"), Row(100, 10, "B")], events)
    world.follow(Plan(holds=(Hold(cold.need, 1),)))
    world.arrive(cold)
    assert begun(events) == [0]
    world.follow(Plan())
    assert begun(events) == [0, 1]


def test_a_warm_machine_takes_what_is_held():
    events = []
    world, (warm,) = with_a_machine([Row(0, 10, "A"), Row(100, 10, "A")], events)
    world.follow(Plan(holds=(Hold(warm.need, 5),)))
    world.arrive(warm)
    assert begun(events) == [0, 1]


def test_what_is_beyond_the_hold_is_anybodys():
    events = []
    world, colds = with_a_machine([Row(0, 10, "A"), *[Row(100, 10, "B")] * 3], events)
    world.follow(Plan(holds=(Hold(colds[0].need, 2),)))
    for one in colds:
        world.arrive(one)
    assert begun(events) == [0, 1]
