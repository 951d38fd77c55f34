"""`gpulease policy`: what is shown, and what a change leaves as it was."""

import pytest
import typer

from gpulease.cli.policy.in_force import changed

POLICY = {
    "name": "queue_length",
    "aim": "balanced",
    "target_p95_s": None,
    "knobs": {"min_replicas": 1.0},
    "limits": {"workers_max": 10, "usd_per_hour_max": None},
    "provider_limits": {},
}


def test_only_what_is_named_changes():
    after = changed(POLICY, [("target_p95_s", 60), ("limits.workers_max", None)])
    assert after == {
        **POLICY,
        "target_p95_s": 60,
        "limits": {"workers_max": None, "usd_per_hour_max": None},
    }


def test_knobs_are_set_and_unset_by_their_names():
    assert changed(POLICY, [("knobs.max_replicas", 4)])["knobs"] == {"min_replicas": 1.0, "max_replicas": 4}
    assert changed(POLICY, [("knobs.min_replicas", None)])["knobs"] == {}


def test_the_wait_of_a_queue_is_set_and_unset():
    set_ = changed(POLICY, [("queue_wait_s.long-high", 900)])
    assert set_["queue_wait_s"] == {"long-high": 900}
    assert changed(set_, [("queue_wait_s.long-high", None)])["queue_wait_s"] == {}


def test_another_policy_drops_the_knobs_of_the_one_before():
    assert changed(POLICY, [("name", "queue_length")])["knobs"] == {"min_replicas": 1.0}
    after = changed(POLICY, [("name", "static"), ("knobs.workers", 2)])
    assert (after["name"], after["knobs"]) == ("static", {"workers": 2})


def test_limits_of_a_provider_are_made():
    after = changed(POLICY, [("provider_limits.salad.workers_max", 3)])
    assert after["provider_limits"] == {"salad": {"workers_max": 3}}


@pytest.mark.parametrize("name", ["name.x", "colour.red"])
def test_what_has_no_parts_is_refused(name):
    with pytest.raises(typer.BadParameter, match="has no"):
        changed(POLICY, [(name, 1)])
