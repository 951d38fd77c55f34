"""The reference systems' rule: reuse first, one launch per uncovered job, a random delay, a second look."""

from dataclasses import replace

import pytest
from pictures import FIXED, drains, intent, jobs, launches, offer, ordered, picture, planned, ready

from scaling.policy import Limits

ROOMY = replace(FIXED, limits=Limits(workers_max=100), launches_per_step_max=100)


def test_one_launch_per_job_that_no_free_or_ordered_slot_covers():
    workers = [ready("w1"), ready("w2", busy_s=29), ordered("w3"), intent("w4", buy_in_s=9)]
    assert len(launches(planned(picture(jobs(8), workers=workers), ROOMY))) == 5
    assert launches(planned(picture(jobs(3), workers=workers), ROOMY)) == []


def test_delays_are_drawn_in_order_between_15_and_30_seconds():
    plan = planned(picture(jobs(3), draws=(0.0, 0.5)), ROOMY)
    assert [one.delay_s for one in launches(plan)] == [15.0, 22.5, 22.5]


def test_the_policy_sets_other_delays():
    policy = replace(ROOMY, launch_delay_s_min=2.0, launch_delay_s_max=4.0)
    [launch] = launches(planned(picture(jobs(), draws=(0.25,)), policy))
    assert launch.delay_s == 2.5


@pytest.mark.parametrize("local", [offer(usd_per_hour=0.0), offer(boot_billed=False)])
def test_boots_that_cost_nothing_are_not_delayed(local):
    [launch] = launches(planned(picture(jobs(), offers=[local], draws=(0.5,)), ROOMY))
    assert launch.delay_s == 0


def test_idle_for_300_seconds_after_the_last_finish():
    assert drains(planned(picture(workers=[ready("w1", idle_s=299)]), FIXED)) == []
    assert drains(planned(picture(workers=[ready("w1", idle_s=301)]), FIXED)) == ["w1"]
