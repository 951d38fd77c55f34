"""The replay on `gpulease up` itself: which jobs it takes, what it tells the simulator, and one of seconds for real."""

import json
from dataclasses import replace

import pytest
import replay
from replaying.live import Outcome
from small_traces import COMPUT3, constant, run, spaced

from scaling.simulate import TraceError, make_trace

JOBS = [(0, 0.4, "a"), (0.5, 0.6, "b"), (1, 0.3, "a"), (1.2, 0.5, "b"), (2, 0.4, "a"), (3.5, 0.2, "c")]
WORLD = {
    "name": "small",
    "loop": {"period_s": 1},
    "gpu_classes": {"gpu": {"load_s": 0.5}},
    "offers": [{"provider": "comput3", "boot": {"median_s": 1.0, "p95_s": 1.5}, "fail_p": 0}],
}


def test_a_window_is_a_trace_of_its_own_that_begins_at_zero():
    cut = replay.window(make_trace(spaced(5, 10, 10, 10, model="m")), 10, 20)
    assert [(one.row, one.t_s, one.need.model) for one in cut.arrivals] == [(0, 5, "m"), (1, 15, "m")]
    assert {one.need.engine for one in cut.arrivals} == {replay.ENGINE}


def test_a_window_without_jobs_is_refused():
    with pytest.raises(TraceError, match="nothing arrives"):
        replay.window(make_trace(spaced(5)), 10, 20)


def test_the_simulator_is_told_how_comput3_sells_and_how_often_production_looks():
    told = replay.as_in_production(COMPUT3, 0.2)
    assert (told.loop.period_s, told.loop.nudge_s, told.loop.launch_delay_s) == (5.0, 0.05, 0.2)
    assert told.loop.launch_gap_s == 2.0
    assert (told.offers[0].lease_s_max, told.offers[0].replace_after_s) == (7200.0, 3600.0)
    assert told.offers[0].boot == COMPUT3.offers[0].boot
    assert told.offers[0].told().mean_s == pytest.approx((3 * 30 + 45) / 4), "Comput3's own word and one boot"


@pytest.mark.parametrize(
    ("cost", "p95_s", "agrees"), [(1.0, 1.0, True), (1.2, 1.0, False), (1.0, 0.7, False)]
)
def test_both_agree_within_what_is_allowed(cost, p95_s, agrees):
    report, _ = run(spaced(0, 10), constant())
    live = Outcome(
        **{name: getattr(report, name, 0) for name in Outcome.__dataclass_fields__}
        | {"cost_usd": cost * report.cost_usd, "wait_p95_s": p95_s * report.wait_p95_s}
    )
    assert replay.Compared(live, report).agrees(0.1, 0.2) is agrees
    assert not replay.Compared(replace(live, unfinished=1), report).agrees(0.1, 0.2)


@pytest.mark.slow
def test_a_few_jobs_of_less_than_a_second_run_on_machines_that_are_leased_for_them(tmp_path, capsys):
    trace, world = tmp_path / "jobs.csv", tmp_path / "world.json"
    trace.write_text("t,service_s,model\n" + "".join(f"{t},{s},{model}\n" for t, s, model in JOBS))
    world.write_text(json.dumps(WORLD))
    asked = ["--trace", str(trace), "--scenario", str(world), "--folder", str(tmp_path / "up"), "--json"]
    at_once = ("--set", "launch_delay_s_min=0", "--set", "launch_delay_s_max=0")
    window = ["--speed", "1", "--from-s", "0", "--policy", "fixed", *at_once]
    # Of so short a run, what starts and ends take is a large part.
    assert replay.main([*asked, *window, "--cost-off", "1", "--p95-off", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    live = told["live"]
    assert (live["jobs"], live["unfinished"], live["failed"]) == (6, 0, 0)
    assert live["loads"] >= 3, "each model is loaded for"
    assert 1 <= live["launches"] <= 6
    assert live["wait_p50_s"] > 1.0, "the first machine boots and loads"
    # A lease counts from the call on, which waits for its turn, and until now, as long as no receipt is there.
    assert live["ledger_usd"] == pytest.approx(live["cost_usd"], abs=5.0 * live["launches"] / 3600)
