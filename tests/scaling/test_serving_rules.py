"""Rules of serving systems: Knative's, Ray Serve's and SkyServe's, as they are documented, and a fixed fleet."""

import itertools

import pytest
from clockwork import Clockwork, counted
from pictures import drains, jobs, launches, ordered, picture, planned, ready

FOREVER = 1e6


def test_knative_aims_at_seven_tenths_of_what_a_worker_can_do():
    world = Clockwork(counted("concurrency"), service_s=FOREVER).run([0.0] * 7, 300)
    assert world.at(300) == 10


def test_knative_panics_when_the_short_window_asks_for_twice_what_is_ready():
    policy = counted("concurrency")
    calm = Clockwork(policy, service_s=FOREVER).run([0.0, 0.0], 300)
    assert calm.at(300) == 3
    calm.run([300.0] * 5, 306)
    assert calm.at(306) == 10


def test_below_the_threshold_only_the_long_window_counts():
    calm = Clockwork(counted("concurrency"), service_s=FOREVER).run([0.0] * 7, 300)
    calm.run([300.0] * 5, 310)
    assert 10 < calm.at(310) < 14
    calm.run([], 370)
    assert calm.at(370) == 18


def test_knative_does_not_go_down_while_it_panics():
    world = Clockwork(counted("concurrency"), boot_s=1, service_s=5).run([0.0] * 20, 61)
    most = max(world.count.values())
    assert most == 29
    assert world.at(61) == most
    world.run([], 300)
    assert world.at(300) == 0


def test_knative_halves_at_most_at_one_tick():
    world = Clockwork(counted("concurrency"), boot_s=1, service_s=5).run([0.0] * 20, 300)
    falls = [count for time_s, count in sorted(world.count.items()) if time_s > 10]
    assert all(later >= sooner // 2 for sooner, later in itertools.pairwise(falls))


def test_knatives_last_worker_has_its_grace():
    def gone_s(**knobs):
        world = Clockwork(counted("concurrency", **knobs), boot_s=1, service_s=10).run([0.0], 400)
        return min(time_s for time_s, count in world.count.items() if time_s > 1 and not count)

    assert gone_s(scale_to_zero_grace_period=0) == pytest.approx(72, abs=2.1)
    assert gone_s() - gone_s(scale_to_zero_grace_period=0) == pytest.approx(30, abs=0.1)


def test_ray_starts_one_from_none_at_once_and_more_only_after_its_delay():
    policy = counted("ongoing", min_replicas=0)
    world = Clockwork(policy, boot_s=10, service_s=FOREVER).run([3.0] * 8, 100)
    assert world.at(3) == 1
    assert world.at(39) == 1
    assert world.at(100) == 4


def test_ray_goes_down_after_ten_minutes():
    policy = counted("ongoing", min_replicas=0)
    world = Clockwork(policy, boot_s=10, service_s=100).run([3.0] * 8, 1300)
    most = max(world.count.values())
    assert most == 4
    empty_s = max(time_s for time_s, count in world.count.items() if count == most)
    assert 600 <= empty_s <= 1000
    world.run([], 2500)
    assert world.at(2500) == 0


def test_rays_last_worker_has_a_delay_of_its_own():
    policy = counted("ongoing", min_replicas=0, downscale_to_zero_delay_s=60)
    world = Clockwork(policy, boot_s=10, service_s=20).run([0.0], 400)
    assert world.at(90) == 1
    assert world.at(150) == 0


def test_rays_factors_multiply_the_difference():
    policy = counted("ongoing", min_replicas=0, upscale_delay_s=0, upscaling_factor=0.5)
    world = Clockwork(policy, boot_s=1, service_s=FOREVER).run([0.0] * 16, 11)
    assert world.at(11) == 5


def test_skyserve_decides_every_five_seconds_from_none():
    policy = counted("qps", min_replicas=0, target_qps_per_replica=0.1)
    world = Clockwork(policy, service_s=5).run([1.0 + one / 2 for one in range(12)], 9)
    assert world.at(4.9) == 0
    assert world.at(5) == 2


def test_skyserve_adds_only_after_five_minutes_of_decisions():
    policy = counted("qps", target_qps_per_replica=0.1)
    world = Clockwork(policy, service_s=2).run([float(2 * one) for one in range(1, 1000)], 700)
    assert world.at(0) == 1
    rose_s = min(time_s for time_s, count in world.count.items() if count > 1)
    assert 300 <= rose_s <= 360
    assert world.at(700) == 5


def test_skyserve_removes_only_after_twenty_minutes_of_decisions():
    policy = counted("qps", target_qps_per_replica=0.1, min_replicas=0)
    world = Clockwork(policy, service_s=1).run([float(one) for one in range(60)], 3000)
    most = max(world.count.values())
    fell_s = min(time_s for time_s, count in world.count.items() if time_s > 60 and count < most)
    assert 1200 <= fell_s <= 1320


def test_skyserves_arrivals_are_what_a_worker_serves_unless_they_are_given():
    policy = counted("qps", min_replicas=0)
    world = Clockwork(policy).run([float(one) for one in range(0, 60, 6)], 200)
    assert world.at(60) == 1
    snapshot = picture(jobs(10), now_s=100.0)
    assert len(launches(planned(snapshot, policy))) == 5


def test_a_job_that_waits_keeps_one_worker_though_nothing_arrives_any_more():
    world = Clockwork(counted("qps", min_replicas=0), service_s=5000).run([0.0, 0.0], 4000)
    assert world.at(4000) == 1


def test_a_static_fleet_is_there_whatever_the_queue_is():
    policy = counted("static", workers=3)
    assert len(launches(planned(picture(workers=[ordered("x1")]), policy))) == 2
    assert len(launches(planned(picture(jobs(50)), policy))) == 3
    workers = [ready(f"w{one}", idle_s=10.0 * one) for one in range(5)]
    assert drains(planned(picture(workers=workers), policy)) == ["w3", "w4"]
