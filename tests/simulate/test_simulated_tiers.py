"""Tiers of a class: the cheap one is taken away, and what is known of that is learned."""

from small_traces import COMPUT3, spaced

from scaling.plan import Launch
from scaling.simulate import make_trace
from scaling.simulate.knowledge import Knowledge
from scaling.simulate.scenario import Boot, Scenario, Terms

BOOT = Boot(45.0, 90.0)
SURE = Terms("cloud", BOOT)
SPOT = Terms("cloud", BOOT, usd_per_hour=0.3, loss_mean_s=600.0)


def knowledge(*terms):
    return Knowledge(Scenario("tiers", terms), make_trace(spaced(0.0)).models())


def lives_s(known):
    return [one.life_mean_s for one in known.offers()]


def test_tiers_of_a_class_are_told_apart_by_their_price():
    known = knowledge(SURE, SPOT)
    assert [(one.usd_per_hour, one.life_mean_s) for one in known.offers()] == [(1.0, None), (0.3, 600.0)]
    assert known.terms(Launch("cloud", "gpu", 0.3, 0.0, "cheap")) is SPOT
    known.leased(SPOT, 1)
    assert [one.count_max for one in known.offers()] == [500, 499]


def test_lives_are_learned_of_machines_that_are_gone():
    known = knowledge(SURE, SPOT)
    for _ in range(30):
        known.served(SPOT, 60.0, lost=True)
    assert lives_s(known)[0] is None
    assert 60.0 < lives_s(known)[1] < 150.0
    patient = knowledge(SURE, SPOT)
    patient.served(SPOT, 60_000.0, lost=False)
    assert lives_s(patient)[1] > 10_000.0


def test_what_is_never_taken_away_is_not_said_to_be():
    known = knowledge(COMPUT3.offers[0])
    known.served(COMPUT3.offers[0], 100.0, lost=False)
    assert lives_s(known) == [None]
