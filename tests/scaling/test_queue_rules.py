"""Rules that look at the queue: SaladCloud's, KEDA's and RunPod's, as they are documented."""

import itertools

from clockwork import Clockwork, counted
from pictures import codes, drains, jobs, launches, ordered, picture, planned, ready

KEDA = {
    "polling_period": 15,
    "stabilization_window": 300,
    "cooldown_period": 300,
    "tolerance": 0.1,
    "upscale_percent": 100,
    "upscale_pods": 4,
}


def test_salad_orders_queue_over_desired_rounded_up_at_its_polls_only():
    world = Clockwork(counted("queue_length", desired_queue_length=4)).run([5.0] * 10, 100)
    assert world.at(29.9) == 0
    assert world.at(30) == 3


def test_polls_are_multiples_of_the_period_whenever_the_first_job_comes():
    snapshot = picture(jobs(2), now_s=1003.0)
    plan = planned(snapshot, counted("queue_length"))
    assert launches(plan) == []
    assert plan.look_again_s == 17.0
    assert codes(plan) == ["policy_waits"]
    late = picture(jobs(2), now_s=1020.4, memory=plan.memory)
    assert len(launches(planned(late, counted("queue_length")))) == 2


def test_salad_adds_and_removes_at_most_so_many_a_minute():
    policy = counted("queue_length", max_upscale_per_minute=2, max_downscale_per_minute=1)
    world = Clockwork(policy, service_s=60).run([0.0] * 6, 1000)
    assert [world.at(one) for one in (0, 30, 60, 90)] == [2, 2, 4, 4]
    changes = [one for one in sorted(world.count) if one > 120]
    falls = [b for a, b in itertools.pairwise(changes) if world.count[b] < world.count[a]]
    assert world.at(1000) == 0
    assert all(later - sooner >= 60 for sooner, later in itertools.pairwise(falls))


def test_the_queue_asks_for_no_more_than_the_most():
    world = Clockwork(counted("queue_length", max_replicas=3)).run([0.0] * 50, 100)
    assert world.at(100) == 3


def test_the_least_is_there_before_the_first_job_and_after_the_last():
    world = Clockwork(counted("queue_length", min_replicas=2)).run([100.0] * 5, 1000)
    assert world.at(0) == 2
    assert world.at(150) == 5
    assert world.at(1000) == 2


def test_without_a_cooldown_all_go_at_the_poll_that_finds_the_queue_empty():
    world = Clockwork(counted("queue_length")).run([0.0], 200)
    assert world.at(90) == 0


def test_keda_keeps_the_last_worker_for_its_cooldown_since_a_poll_saw_a_job():
    world = Clockwork(counted("queue_length", cooldown_period=300)).run([0.0], 1000)
    assert world.at(359.9) == 1
    assert world.at(360) == 0


def test_keda_falls_only_to_the_greatest_number_of_its_stabilization_window():
    policy = counted("queue_length", **KEDA)
    world = Clockwork(policy, service_s=60).run([0.0] * 4, 1000)
    assert world.at(60) == 4
    assert world.at(400) == 4
    assert world.at(1000) == 0


def test_keda_grows_by_four_or_doubles():
    world = Clockwork(counted("queue_length", **KEDA), service_s=1e6).run([0.0] * 40, 60)
    assert [world.at(one) for one in (0, 15, 30, 45)] == [4, 8, 16, 32]


def test_a_small_difference_is_tolerated():
    policy = counted("queue_length", desired_queue_length=10, tolerance=0.1, polling_period=1)
    world = Clockwork(policy, service_s=1e6).run([0.0] * 100 + [10.0] * 9 + [20.0] * 3, 30)
    assert [world.at(one) for one in (0, 12, 22)] == [10, 10, 12]


def test_jobs_that_run_may_be_left_out_of_the_queue():
    workers = [ready(f"w{one}", busy_s=5) for one in range(3)]
    snapshot = picture(jobs(4), workers=workers)
    assert len(launches(planned(snapshot, counted("queue_length")))) == 4
    assert len(launches(planned(snapshot, counted("queue_length", count_running=0)))) == 1


def test_a_job_asks_for_a_worker_once_it_has_waited_longer_than_four_seconds():
    world = Clockwork(counted("queue_delay")).run([10.0, 12.0], 17)
    assert world.at(14) == 0
    assert world.at(14.1) == 1
    assert world.at(16.1) == 2


def test_workers_on_order_answer_jobs_that_wait_too_long():
    policy = counted("queue_delay", workers_max=0)
    snapshot = picture(
        jobs(5, ages_s=(9.0, 8.0, 7.0, 3.0, 1.0)), workers=[ordered("x1"), ready("w1", busy_s=9)]
    )
    plan = planned(snapshot, policy)
    assert len(launches(plan)) == 2
    assert 1.0 < plan.look_again_s < 1.01


def test_of_many_jobs_the_late_ones_are_counted_by_their_spread():
    group = jobs(320, ages_s=tuple(16.0 - one / 2 for one in range(32)))
    assert len(launches(planned(picture(group), counted("queue_delay", workers_max=0)))) == 240


def test_an_idle_worker_stays_five_seconds():
    policy = counted("queue_delay")
    plan = planned(picture(workers=[ready("w1", idle_s=2.0), ready("w2", idle_s=5.0)]), policy)
    assert drains(plan) == ["w2"]
    assert plan.look_again_s == 3.0


def test_request_count_is_jobs_over_the_value():
    policy = counted("queue_delay", scaler_type=1, scaler_value=4, workers_max=0)
    snapshot = picture(jobs(7), workers=[ready("w1", busy_s=3)])
    assert len(launches(planned(snapshot, policy))) == 1


def test_three_workers_at_most_by_default():
    assert len(launches(planned(picture(jobs(9, oldest_age_s=60)), counted("queue_delay")))) == 3
