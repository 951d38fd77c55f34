"""What is needed by the time of day: learned from whole days, and used only where it is better than no forecast."""

import json
import random
from dataclasses import replace

import pytest
from pictures import BOOT_S, WHATIF, drains, jobs, launches, offer, ordered, picture, planned, ready, stops

from scaling.policies import check_knobs
from scaling.whatif.forecast import DAY_S, SLOT_S, SLOTS, Day, Score, Slot, clock
from scaling.whatif.learned import Learned, Rank, recall, written

HOUR = 3600.0
NINE = 9 * HOUR
KIND = ("cloud", "a10", 1.0)
MINUTE = replace(WHATIF, target_p95_s=60.0)
"""No boot is in time for a job that comes."""
WITHOUT = replace(MINUTE, knobs={"forecast": 0})


def lived(days, needed, step_s=60.0):
    """What is known after so many days on which `needed(t_s)` machines were needed."""
    day = Day(Slot(0.0))
    for step in range(int(days * DAY_S / step_s) + 1):
        day = day.seen(needed(step * step_s), step * step_s)
    return day


def office(t_s):
    return 4 if NINE <= t_s % DAY_S < 17 * HOUR else 0


def remembered(day):
    """With ranks whose pauses were so long that nothing is kept for them."""
    ranks = (Rank(0.0, (40_000.0,) * 9),) * 4
    return json.loads(json.dumps(written(Learned(ranks={KIND: ranks}, days={KIND: day}))))


OFFICE = lived(4, office)


def at(t_s, policy=MINUTE, day=OFFICE, workers=(), **more):
    """The plan of the fifth day, with nobody in the queue."""
    now_s = 4 * DAY_S + t_s
    return planned(picture(workers=workers, now_s=now_s, memory=remembered(day), **more), policy)


def test_days_that_are_alike_are_forecast_and_the_rises_are_their_mornings():
    assert OFFICE.score.helps
    assert list(OFFICE.rises(4 * DAY_S, DAY_S)) == [(NINE, 4)]
    assert list(OFFICE.rises(4 * DAY_S + NINE + 60.0, DAY_S - HOUR)) == [(-60.0, 4)]
    assert list(OFFICE.rises(4 * DAY_S, NINE - 1.0)) == []


def test_it_needs_two_days_after_the_first_to_be_believed():
    assert not lived(2.9, office).score.helps
    assert lived(3.1, office).score.helps


def test_what_is_the_same_all_day_or_never_the_same_is_not_forecast():
    assert not lived(5, lambda _: 3).score.helps
    assert not lived(5, lambda _: 0).score.helps
    dice = random.Random(3)
    bursts = [dice.choice((0, 0, 6)) for _ in range(5 * 24 + 1)]
    assert not lived(5, lambda t_s: bursts[int(t_s // HOUR)]).score.helps


def test_it_is_given_up_when_days_are_no_longer_alike():
    dice = random.Random(4)
    hours = [dice.choice((0, 0, 6)) for _ in range(24 * 9)]
    changed = lived(8, lambda t_s: office(t_s) if t_s < 4 * DAY_S else hours[int(t_s // HOUR)])
    assert not changed.score.helps


def test_a_habit_that_ends_is_forgotten():
    quiet = lived(8, lambda t_s: office(t_s) if t_s < 4 * DAY_S else 0)
    assert max(quiet.levels) < 1.5


def test_moments_do_not_count_for_a_whole_slot():
    blips = lived(3, lambda t_s: 5 if t_s % SLOT_S < 60.0 else 0)
    assert max(blips.levels) < 0.5


def test_a_gap_in_which_nobody_looked_says_nothing_unless_nothing_was_needed():
    before = lived(1, office)
    busy = replace(before, slot=replace(before.slot, last=4))
    assert busy.seen(2, DAY_S + 6 * HOUR).levels == before.levels
    assert before.seen(2, DAY_S + 12 * HOUR).levels[int(NINE // SLOT_S)] < 4.0


def test_a_clock_that_was_set_back_or_far_ahead_begins_a_slot_anew():
    for now_s in (0.0, 1e18):
        again = OFFICE.seen(3, now_s)
        assert (again.levels, again.slot) == (OFFICE.levels, Slot(now_s, 3))


def test_machines_are_ordered_a_boot_before_the_time_of_day_and_say_so():
    ordered_now = launches(at(NINE - BOOT_S))
    assert [one.reason for one in ordered_now] == ["4 are needed from 09:00 UTC on, by the days before"] * 4
    assert launches(at(NINE - 3 * BOOT_S)) == []
    assert launches(at(NINE + 30.0)) == []


def test_the_policy_looks_again_when_it_is_time_to_order():
    plan = at(NINE - 600.0)
    assert launches(plan) == []
    again = at(NINE - 600.0 + plan.look_again_s)
    assert len(launches(again)) == 4


def test_only_so_many_are_ordered_as_are_not_there():
    there = ready("w1", idle_s=5.0), ordered("w2", state_age_s=30.0, lease_age_s=30.0)
    assert len(launches(at(NINE - BOOT_S, workers=there))) == 2


@pytest.mark.parametrize(("policy", "called_back"), [(MINUTE, []), (WITHOUT, ["w1"])])
def test_what_was_ordered_for_the_time_of_day_is_not_called_back_before_it(policy, called_back):
    on_order = ordered("w1", state_age_s=40.0, lease_age_s=40.0)
    first = at(NINE - 50.0, policy, workers=[on_order])
    later = picture(workers=[on_order], now_s=4 * DAY_S + NINE - 20.0, memory=first.memory)
    assert (stops(first), stops(planned(later, policy))) == ([], called_back)


def test_an_idle_machine_stays_where_it_will_be_needed_before_keeping_costs_more():
    idle = ready("w1", idle_s=900.0)
    assert drains(at(NINE - 60.0, workers=[idle])) == []
    assert drains(at(NINE - 60.0, WITHOUT, workers=[idle])) == ["w1"]
    assert drains(at(NINE - 3 * HOUR, workers=[idle])) == ["w1"]


def test_without_the_knob_or_the_score_the_plan_is_the_same_as_without_the_days():
    doubted = replace(OFFICE, score=Score(500, 1.0, 1.1, 5.0))
    for seconds in (NINE - BOOT_S, NINE - 200.0, NINE):
        plain = at(seconds, day=Day(Slot(0.0)))
        for other in (at(seconds, WITHOUT), at(seconds, day=doubted)):
            assert (other.actions, other.look_again_s) == (plain.actions, plain.look_again_s)


def test_where_boots_are_quick_enough_nothing_is_ordered_ahead():
    assert launches(at(NINE - BOOT_S, replace(WHATIF, target_p95_s=1000.0))) == []


def test_limits_hold_for_what_is_ordered_ahead_too():
    tight = replace(MINUTE, limits=replace(MINUTE.limits, workers_max=2))
    assert len(launches(at(NINE - BOOT_S, tight))) == 2
    assert launches(at(NINE - BOOT_S, offers=())) == []


def test_days_are_read_as_they_were_written():
    learned = recall(remembered(OFFICE))
    assert learned.days == {KIND: OFFICE}


@pytest.mark.parametrize(
    "spoiled",
    [
        None,
        7,
        [[*KIND]],
        [[*KIND, [[1.0], [], []]]],
        [[*KIND, [[float("nan")] * SLOTS, [0, 0, 0, 0, 0], [0, 0, 0, 0]]]],
        [[*KIND, [["x"] * SLOTS, [0, 0, 0, 0, 0], [0, 0, 0, 0]]]],
        [[*KIND, [[0.0] * SLOTS, [0, 0], [0, 0, 0, 0]]]],
        [[*KIND, [[0.0] * SLOTS, [0, 0, 0, 0, 0], [0, None, 0, 0]]]],
    ],
)
def test_days_that_cannot_be_read_are_as_nothing_learned(spoiled):
    memory = remembered(OFFICE) | {"days": spoiled}
    assert recall(memory).days == {}
    planned(picture(jobs(), memory=memory), MINUTE)


def test_a_memory_from_before_there_were_days_is_kept():
    old = remembered(OFFICE)
    del old["days"]
    assert recall(old).ranks
    assert recall(old).days == {}


def test_only_the_kinds_that_were_needed_last_have_days():
    kinds = {("cloud", "a10", float(price)): (Rank(float(price)),) for price in range(60)}
    days = dict.fromkeys(kinds, OFFICE)
    memory = written(Learned(ranks=kinds, days=days))
    kept = recall(planned(picture(now_s=100.0, memory=memory), MINUTE).memory).days
    assert min(price for _, _, price in kept) == 44.0


def test_a_kind_that_nobody_needed_for_two_weeks_is_forgotten_with_its_days():
    plan = planned(picture(now_s=15 * DAY_S, memory=remembered(OFFICE)), MINUTE)
    assert recall(plan.memory).days == {}


def test_the_time_of_day_is_said_in_quarters():
    assert [clock(one) for one in (0.0, NINE, 3 * DAY_S + 13.8 * HOUR)] == ["00:00", "09:00", "13:45"]


def test_the_knob_is_on_or_off():
    check_knobs("whatif", {"forecast": 0})
    with pytest.raises(ValueError, match="forecast must be a whole number from 0 to 1"):
        check_knobs("whatif", {"forecast": 2})


def test_a_small_offer_is_not_asked_for_more_than_it_has():
    assert len(launches(at(NINE - BOOT_S, offers=[offer(count_max=3)]))) == 3
