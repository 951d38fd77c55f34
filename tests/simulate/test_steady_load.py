"""Under a constant load a fleet comes to rest: nothing is launched that is ended again unused."""

import pytest
from small_traces import run
from tuned_runs import COMPUT3, SALAD, leases, steady, tuned

WARM_UP = 1 / 3
"""Of the run. Then all is learned that there is to learn."""


def after_warm_up(rows, scenario, target_s):
    _, events = run(rows, scenario, tuned(target_s))
    begin_s, end_s = WARM_UP * rows[-1].t_s, rows[-1].t_s
    return [one for one in leases(events) if begin_s < one[0] or begin_s < one[2] < end_s]


@pytest.mark.parametrize(
    ("scenario", "target_s"), [(COMPUT3, 60), (COMPUT3, 150), (SALAD, 150), (SALAD, 300)]
)
@pytest.mark.parametrize("models", [1, 4])
def test_a_fleet_that_is_mostly_at_work_stays_as_it_is(scenario, target_s, models):
    """A job each 10 s, of 35 s: three and a half machines, all the time."""
    assert after_warm_up(steady(10.0, 35.0, 600, models), scenario, target_s) == []


@pytest.mark.parametrize(
    ("scenario", "target_s"), [(COMPUT3, 60), (COMPUT3, 150), (SALAD, 150), (SALAD, 300)]
)
@pytest.mark.parametrize("models", [1, 4])
@pytest.mark.parametrize(("gap_s", "jobs"), [(60.0, 200), (300.0, 80)])
def test_jobs_now_and_then_start_at_most_a_machine_each(scenario, target_s, models, gap_s, jobs):
    """Whether that is worth it, or one is kept for them, is a matter of costs; launches that fail are made again."""
    found = after_warm_up(steady(gap_s, 20.0, jobs, models), scenario, target_s)
    assert len([one for one in found if one[1] < float("inf")]) <= (1 - WARM_UP) * jobs + 2
    assert len(found) <= 1.15 * (1 - WARM_UP) * jobs + 2
