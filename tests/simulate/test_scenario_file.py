"""Scenarios: three by name, all others from a file whose every fault is told with its place."""

import json

import pytest

from scaling.simulate import ScenarioError, read_scenario
from scaling.snapshot import Estimate

BOOT = {"median_s": 45, "p95_s": 90}
OFFER = {"provider": "comput3", "boot": BOOT}


@pytest.fixture
def read(tmp_path):
    def write(value):
        path = tmp_path / "two-clouds.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return read_scenario(path)

    return write


@pytest.mark.parametrize(
    ("name", "median_s", "p95_s", "boot_billed"),
    [("comput3", 45, 90, True), ("salad", 240, 600, True), ("salad-free", 240, 600, False)],
)
def test_what_is_known_by_name(name, median_s, p95_s, boot_billed):
    scenario = read_scenario(name)
    (offer,) = scenario.offers
    assert (offer.boot.median_s, offer.boot.p95_s, offer.boot_billed) == (median_s, p95_s, boot_billed)
    assert (offer.fail_p, offer.usd_per_hour, offer.granularity_s) == (0.03, 1.0, 0.0)
    assert scenario.gpu_classes["gpu"].load_s == 22.718
    assert scenario.workers_max == 500
    assert offer.boot.at(0.5) == pytest.approx(median_s)
    assert offer.boot.at(0.95) == pytest.approx(p95_s)
    assert offer.boot.known().p90_s < p95_s < offer.boot.known().p99_s


def test_a_file_says_what_is_for_sale_and_how_the_loop_turns(read):
    scenario = read(
        {
            "workers_max": 20,
            "loop": {"period_s": 2, "nudge_s": 0.05, "launch_delay_s": 1.5},
            "gpu_classes": {"small": {"service_factor": 2, "load_s": 30, "vram_gb": 12}, "large": {}},
            "offers": [
                {**OFFER, "gpu_class": "small", "usd_per_hour": 0.2, "count_max": 4, "loss_mean_s": 9000},
                {
                    **OFFER,
                    "gpu_class": "large",
                    "granularity_s": 3600,
                    "min_billed_s": 60,
                    "lease_s_max": 7200,
                    "boot_prior": {"mean_s": 30, "p90_s": 60, "p99_s": 420},
                },
            ],
        }
    )
    assert scenario.name == "two-clouds"
    assert [one.gpu_class for one in scenario.offers] == ["small", "large"]
    assert scenario.offers[0].loss_mean_s == 9000
    assert scenario.offers[1].lease_s_max == 7200
    assert scenario.offers[1].told() == Estimate(mean_s=30, p90_s=60, p99_s=420)
    assert scenario.gpu_classes["small"].service_factor == 2
    assert scenario.loop.launch_delay_s == 1.5


def test_a_class_may_be_sold_in_tiers_that_differ_in_price_and_life(read):
    sure, spot = read({"offers": [OFFER, {**OFFER, "usd_per_hour": 0.3, "loss_mean_s": 600}]}).offers
    assert (sure.usd_per_hour, sure.loss_mean_s) == (1.0, None)
    assert (spot.usd_per_hour, spot.loss_mean_s) == (0.3, 600)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ([], "must be an object"),
        ({}, "offers: there must be a list of at least one"),
        ({"offers": []}, "offers: there must be a list"),
        ({"offers": [7]}, "offers[0]: must be an object"),
        ({"offers": [{"provider": "a"}]}, "offers[0].boot: no median_s, p95_s"),
        ({"offers": [{"boot": BOOT}]}, "offers[0]: no provider"),
        ({"offers": [{**OFFER, "prize": 1}]}, "offers[0]: unknown field prize; there are provider,"),
        ({"offers": [{**OFFER, "usd_per_hour": "1"}]}, "offers[0].usd_per_hour: must be a number"),
        ({"offers": [{**OFFER, "usd_per_hour": -1}]}, "offers[0].usd_per_hour: -1 must be at least 0"),
        ({"offers": [{**OFFER, "boot_prior": {"mean_s": 9}}]}, "offers[0].boot_prior: no p90_s"),
        ({"offers": [{**OFFER, "loss_mean_s": 0}]}, "offers[0].loss_mean_s: 0 must be above 0"),
        ({"offers": [{**OFFER, "count_max": 1.5}]}, "offers[0].count_max: 1.5 must be a whole number"),
        ({"offers": [{**OFFER, "boot_billed": 1}]}, "offers[0].boot_billed: must be true or false"),
        ({"offers": [{**OFFER, "provider": ""}]}, "offers[0].provider: must be a name"),
        ({"offers": [{**OFFER, "fail_p": 1}]}, "offers[0].fail_p: 1 must be below 1"),
        ({"offers": [{**OFFER, "gpu_class": "b200"}]}, "offers[0].gpu_class: 'b200' is none of gpu"),
        ({"offers": [OFFER, OFFER]}, "offers[1]: a second offer of comput3/gpu at the same price"),
        (
            {"offers": [OFFER, {**OFFER, "usd_per_hour": 0.3, "boot": {"median_s": 9, "p95_s": 9}}]},
            "offers[1].boot: those of comput3/gpu boot alike",
        ),
        ({"offers": [{**OFFER, "boot": {"median_s": 9, "p95_s": 8}}]}, "offers[0].boot.p95_s: 8 is less"),
        ({"offers": [{**OFFER, "boot": {"median_s": 0, "p95_s": 8}}]}, "boot.median_s: 0 must be above 0"),
        ({"offers": [OFFER], "loop": {"period_s": 0}}, "loop.period_s: 0 must be above 0"),
        ({"offers": [OFFER], "loop": 5}, "loop: must be an object"),
        ({"offers": [OFFER], "gpu_classes": {"gpu": {"load_s": None}}}, "gpu_classes.gpu.load_s: must be"),
        ({"offers": [OFFER], "name": 7}, "name: must be a name"),
        ({"offers": [OFFER], "workers_max": True}, "workers_max: must be a number"),
    ],
)
def test_a_fault_is_told_with_its_place(read, value, said):
    with pytest.raises(ScenarioError, match=r"two-clouds\.json") as told:
        read(value)
    assert said in str(told.value)


def test_neither_a_name_nor_a_file(tmp_path):
    with pytest.raises(ScenarioError, match="one of comput3, salad, salad-free"):
        read_scenario(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff")
    with pytest.raises(ScenarioError, match="UTF-8"):
        read_scenario(tmp_path / "bytes.json")
