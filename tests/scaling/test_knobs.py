"""Knobs are refused by name, with what would be right; the documents list them all."""

import math
import re
from pathlib import Path

import pytest

from scaling.policies import KNOBS, POLICIES, check_knobs
from scaling.policies.knobs import values

DOCS = Path(__file__).parents[2] / "docs" / "policies.md"


def test_every_policy_has_a_list_of_knobs_and_takes_its_own_defaults():
    assert set(KNOBS) == set(POLICIES)
    for name, knobs in KNOBS.items():
        check_knobs(name, {})
        check_knobs(name, values(knobs, {}))


def test_all_faults_are_told_at_once():
    with pytest.raises(ValueError, match="polling_period must be a number from 1 to 1800, not 0") as caught:
        check_knobs("queue_length", {"polling_period": 0, "max_replicas": 1.5, "pace": 3})
    assert "max_replicas must be a whole number from 0 to 10000, not 1.5" in str(caught.value)
    assert "'pace' is no knob of it; its knobs are desired_queue_length, polling_period" in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "3", None])
def test_only_numbers_are_numbers(value):
    with pytest.raises(ValueError, match="scaler_value must be a number"):
        check_knobs("queue_delay", {"scaler_value": value})


def test_bounds_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="workers_min is 4 and workers_max only 3"):
        check_knobs("queue_delay", {"workers_min": 4})
    check_knobs("queue_delay", {"workers_min": 4, "workers_max": 0})


def test_a_policy_without_knobs_says_so_and_an_unknown_one_lists_them_all():
    with pytest.raises(ValueError, match="'pace' is no knob of it; it has no knobs"):
        check_knobs("fixed", {"pace": 1})
    with pytest.raises(ValueError, match="no policy is called 'best'; there are concurrency, fixed, ongoing"):
        check_knobs("best", {})


def test_a_default_may_be_another_knob():
    assert values(KNOBS["ongoing"], {"downscale_delay_s": 7.0})["downscale_to_zero_delay_s"] == 7.0


def test_the_documents_name_every_knob_with_its_default():
    sections = re.split(r"^## ", DOCS.read_text(), flags=re.MULTILINE)
    by_name = {one.split("\n", 1)[0].strip("` "): one for one in sections}
    for name in (one for one in KNOBS if one != "fixed"):
        for knob in KNOBS[name]:
            default = knob.default if isinstance(knob.default, str) else f"{knob.default:g}"
            assert f"| `{knob.name}` | {default} |" in by_name[name], (name, knob.name)
