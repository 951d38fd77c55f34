"""What a report says is what its log says; the same four inputs give the same run; all policies meet the same luck."""

from dataclasses import replace

import pytest
from recheck import draws, recheck
from small_traces import COMPUT3, FIXED, WHATIF, busy_hour, run, spaced

from scaling.policies import POLICIES
from scaling.policy import Policy
from scaling.simulate import read_scenario
from scaling.simulate.report import percentile

ROWS = busy_hour()


@pytest.mark.parametrize("scenario", ["comput3", "salad"])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_cost_and_waits_can_be_recomputed_from_the_log(name, scenario):
    report, events = run(ROWS, read_scenario(scenario), Policy(name=name, idle_s=60.0), seed=3, speed=2)
    leased_s, waits = recheck(ROWS, events, speed=2)
    ordered = sorted(waits.values())
    assert report.billed_s == pytest.approx(leased_s, abs=1e-3)
    assert report.cost_usd == pytest.approx(leased_s / 3600)
    assert report.wait_mean_s == pytest.approx(sum(ordered) / len(ordered), abs=1e-5)
    assert report.wait_p95_s == pytest.approx(percentile(ordered, 0.95), abs=1e-5)
    assert report.wait_max_s == pytest.approx(ordered[-1], abs=1e-5)
    assert report.over_60 == sum(one > 60 for one in ordered) / len(ordered)
    assert (report.jobs, report.unfinished) == (len(ROWS), 0)
    parts_s = report.busy_s + report.boot_s + report.idle_s + report.lost_s
    assert parts_s == pytest.approx(report.lease_s)
    assert report.busy_s - report.load_s == pytest.approx(sum(one.service_s for one in ROWS))
    counted = sum(one["e"] != "meta" for one in events) + report.looks
    assert report.events == counted


def test_the_same_inputs_give_the_same_run_and_another_seed_another():
    first = run(ROWS, seed=5)
    assert run(ROWS, seed=5) == first
    assert run(ROWS, seed=6)[0].billed_s != first[0].billed_s


def test_all_policies_meet_the_same_luck():
    luck = draws(7, 45.0, 90.0, 0.03)
    fates = [next(luck) for _ in range(200)]
    for policy in (FIXED, WHATIF, Policy(name="queue_length")):
        _, events = run(ROWS, policy=policy, seed=7)
        launched = {one["node"]: one["t"] for one in events if one["e"] == "launch"}
        assert list(launched) == list(range(len(launched)))
        for one in events:
            if one["e"] == "ready":
                boot_s, fails = fates[one["node"]]
                assert not fails
                assert one["t"] - launched[one["node"]] == pytest.approx(boot_s, abs=1e-4)


def test_launches_fail_as_often_as_the_scenario_says_and_are_paid_until_then():
    unlucky = replace(COMPUT3, offers=(replace(COMPUT3.offers[0], fail_p=0.4),))
    report, events = run(ROWS, unlucky)
    leased_s, _ = recheck(ROWS, events)
    assert report.failed == sum(one["e"] == "fail" for one in events)
    assert 0.2 < report.failed / report.launches < 0.6
    assert report.billed_s == pytest.approx(leased_s, abs=1e-3)
    assert report.unfinished == 0


def test_what_is_leased_ends_with_the_last_job():
    _, events = run(ROWS, policy=replace(WHATIF, idle_s=3600.0))
    last_s = max(one["t"] for one in events if one["e"] == "finish")
    assert events[-1]["e"] == "terminate"
    assert events[-1]["t"] == last_s


def test_a_trace_without_jobs_costs_nothing():
    report, events = run([])
    assert [one["e"] for one in events] == ["meta"]
    assert (report.jobs, report.cost_usd, report.launches, report.looks) == (0, 0, 0, 0)


def test_nothing_is_looked_at_while_nobody_waits_and_nothing_is_leased():
    near, _ = run(spaced(0, 1_000))
    far, _ = run(spaced(0, 1_000_000))
    assert near.looks == far.looks
