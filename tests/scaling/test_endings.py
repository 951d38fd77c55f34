"""Who must end and who must not: the dead at once, the idle by a drain, the busy never."""

from dataclasses import replace

import pytest
from pictures import AGED_S, WHATIF, drains, jobs, launches, offer, ordered, picture, planned, ready, stops

from scaling.policy import Limits
from scaling.snapshot import Estimate, Estimates
from scaling.states import WorkerState

DRAINING = WorkerState.DRAINING


def alone(worker, policy=WHATIF):
    return planned(picture(workers=[worker]), policy)


def test_a_boot_without_end_is_stopped():
    assert stops(alone(ordered("w1", state_age_s=899))) == []
    assert stops(alone(ordered("w1", state_age_s=901))) == ["w1"]


def test_a_boot_has_as_long_as_boots_of_its_kind_have_taken():
    assert stops(alone(ordered("w1", state_age_s=301), replace(WHATIF, boot_s_max=300))) == ["w1"]
    slow = {("cloud", "a10"): Estimate(600.0, 1200.0, 50, 1500.0)}
    seen = picture(workers=[ordered("w1", state_age_s=2200)], estimates=Estimates(boot=slow))
    assert stops(planned(seen)) == []
    assert stops(planned(replace(seen, workers=(ordered("w1", state_age_s=2251),)))) == ["w1"]


def test_an_owners_machine_is_never_let_go():
    own = ready("w1", owned=True, provider="buffer", idle_s=9e9, claim_silent_s=9e9, usd_per_hour=0.0)
    assert alone(own).actions == ()
    assert alone(replace(own, silent_s=9e9)).actions == ()


def test_an_owners_machine_that_is_offline_is_no_supply():
    own = ready("w1", owned=True, provider="buffer")
    assert launches(planned(picture(jobs(), workers=[own]))) == []
    assert len(launches(planned(picture(jobs(), workers=[replace(own, silent_s=46.0)])))) == 1


def test_an_owners_machine_is_not_in_the_budget():
    one = replace(WHATIF, limits=Limits(workers_max=1))
    own = ready("w1", owned=True, provider="buffer", busy_s=1.0)
    assert len(launches(planned(picture(jobs(3, oldest_age_s=AGED_S), workers=[own]), one))) == 1


def test_probes_speak_for_a_machine_whose_agent_is_elsewhere():
    failing = ready("w1", hosted=True, busy_s=5, probe_failures=3)
    assert stops(alone(failing)) == ["w1"]
    assert drains(alone(replace(failing, hosted=False))) == ["w1"]


def test_an_old_lease_is_replaced_when_idle():
    leased = [offer(replace_after_s=3600.0)]
    old = ready("w1", lease_age_s=3601.0, idle_s=1.0)
    assert drains(planned(picture(workers=[old], offers=leased))) == ["w1"]
    assert planned(picture(workers=[replace(old, lease_age_s=3599.0)], offers=leased)).actions == ()
    assert planned(picture(jobs(), workers=[old], offers=leased)).actions == ()


def test_a_silent_worker_is_stopped_even_with_a_job():
    assert stops(alone(ready("w1", busy_s=100, silent_s=46))) == ["w1"]
    assert stops(alone(ready("w1", busy_s=100, silent_s=44))) == []


def test_silence_is_no_evidence_before_the_first_heartbeat():
    assert alone(ready("w1", silent_s=None)).actions == ()


def test_a_silent_worker_is_no_supply():
    plan = planned(picture(jobs(), workers=[ready("w1", silent_s=46)]))
    assert len(launches(plan)) == 1


def test_a_machine_that_only_heartbeats_is_no_supply_and_is_stopped():
    mute = ready("w1", claim_silent_s=61, idle_s=61)
    assert stops(alone(mute)) == ["w1"]
    assert len(launches(planned(picture(jobs(), workers=[mute])))) == 1


def test_a_worker_that_never_claimed_has_the_same_time():
    assert stops(alone(ready("w1", claim_silent_s=None, idle_s=59))) == []
    assert stops(alone(ready("w1", claim_silent_s=None, idle_s=61))) == ["w1"]


def test_a_long_job_is_not_taken_for_silence_when_it_ends():
    """While it worked it could not claim: its silence counts from its last finish."""
    assert alone(ready("w1", claim_silent_s=4000, idle_s=2)).actions == ()


def test_three_failed_probes_stop_an_idle_worker_and_drain_a_busy_one():
    assert stops(alone(ready("w1", probe_failures=3))) == ["w1"]
    assert alone(ready("w1", probe_failures=2)).actions == ()
    assert drains(alone(ready("w1", busy_s=9, probe_failures=3))) == ["w1"]


def test_failed_probes_end_a_busy_worker_that_has_no_heartbeats_to_say_otherwise():
    assert stops(alone(ready("w1", busy_s=9, probe_failures=3, silent_s=None))) == ["w1"]


def test_a_drained_worker_is_stopped_and_a_draining_one_finishes():
    assert stops(alone(ready("w1", state=DRAINING))) == ["w1"]
    assert alone(ready("w1", state=DRAINING, busy_s=9)).actions == ()


def test_a_worker_that_still_hands_in_a_result_is_busy():
    assert alone(ready("w1", state=DRAINING, uploading=1)).actions == ()
    assert alone(ready("w1", idle_s=9000, uploading=1)).actions == ()


def test_draining_has_a_limit():
    assert stops(alone(ready("w1", state=DRAINING, busy_s=9000, state_age_s=7201))) == ["w1"]


def test_idleness_counts_from_the_last_finish_and_not_from_the_start_of_a_job():
    """ray#33416, and the seed that idled out what had just worked for an hour."""
    assert alone(ready("w1", busy_s=4000)).actions == ()
    assert alone(ready("w1", state_age_s=9000, idle_s=200)).actions == ()
    assert drains(alone(ready("w1", idle_s=301))) == ["w1"]


def test_idling_out_is_a_drain_so_that_a_job_claimed_meanwhile_is_finished():
    """keda#6719: the victim may have taken a job between the look and the act."""
    plan = alone(ready("w1", idle_s=301))
    assert stops(plan) == []
    assert drains(plan) == ["w1"]


def test_a_worker_that_never_had_a_job_has_its_grace():
    """ray#39881: a fresh replica has nothing to do yet and is killed for it."""
    quick = replace(WHATIF, idle_s=5)
    assert alone(ready("w1", jobs_done=0, idle_s=59), quick).actions == ()
    assert drains(alone(ready("w1", jobs_done=0, idle_s=61), quick)) == ["w1"]
    assert drains(alone(ready("w1", jobs_done=1, idle_s=6), quick)) == ["w1"]


def test_an_idle_worker_that_a_waiting_job_is_about_to_take_is_kept():
    assert planned(picture(jobs(), workers=[ready("w1", idle_s=400)])).actions == ()


def test_work_goes_to_the_last_used_so_that_the_surplus_ages_out():
    fleet = [ready("w1", idle_s=400), ready("w2", idle_s=350)]
    assert drains(planned(picture(jobs(), workers=fleet))) == ["w1"]


def test_what_is_paid_already_is_used_up():
    hourly = [offer(granularity_s=3600.0)]
    early = ready("w1", idle_s=1900, lease_age_s=2000)
    late = replace(early, lease_age_s=3560)
    assert planned(picture(workers=[early], offers=hourly)).actions == ()
    assert drains(planned(picture(workers=[late], offers=hourly))) == ["w1"]


def test_a_lease_near_its_end_takes_no_more_jobs():
    assert drains(alone(ready("w1", lease_left_s=50))) == ["w1"]
    assert drains(alone(ready("w1", busy_s=9, lease_left_s=50))) == ["w1"]
    assert alone(ready("w1", lease_left_s=5000)).actions == ()


def test_a_paused_worker_is_no_supply_and_ends_only_if_it_is_paid():
    owned = ready("w1", paused=True, usd_per_hour=0.0, idle_s=9000, claim_silent_s=9000)
    assert alone(owned).actions == ()
    assert len(launches(planned(picture(jobs(), workers=[owned])))) == 1
    assert drains(alone(replace(owned, usd_per_hour=1.0))) == ["w1"]


@pytest.mark.parametrize("state", [WorkerState.STOPPING, WorkerState.CREATING, WorkerState.GONE])
def test_what_apply_and_sweep_resolve_needs_no_action(state):
    assert alone(ordered("w1", state, state_age_s=99_999)).actions == ()


def test_the_idle_end_and_the_busy_stay_when_the_queue_is_empty():
    """ray#18925: an empty queue while all work is no reason to shrink."""
    fleet = [ready("w1", busy_s=10), ready("w2", busy_s=10)]
    assert planned(picture(workers=fleet)).actions == ()
