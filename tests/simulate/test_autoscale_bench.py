"""The bench of all policies: what it runs, what it keeps, and what its tables and its picture say."""

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import autoscale
import pytest
from autoscaling import matrix
from autoscaling.matrix import CLAIRVOYANT, OURS, Case
from autoscaling.page import page
from autoscaling.picture import picture
from autoscaling.runs import Kept, Result, Run, key_of
from autoscaling.table import cells, defaults_table, full_table, gains, limits_table, points

from scaling.policies import POLICIES, check_knobs

DONE = Result(ratio=2.0, p50_s=10.0, p95_s=50.0, p99_s=70.0, launches=3, unfinished=0, checked=False)
SVG = "{http://www.w3.org/2000/svg}"


def result(policy, ratio, p95_s, seed=0, *, unfinished=0, by_default=False, published=True, **settings):
    case = Case(policy, policy, settings, by_default=by_default, published=published)
    figures = replace(DONE, ratio=ratio, p95_s=p95_s, unfinished=unfinished)
    return Run(case, "comput3", 10.0, seed), figures


TWO_SEEDS = [
    result("qps", 3.0, 55.0, a=1.0),
    result("qps", 3.4, 58.0, 1, a=1.0),
    result("ongoing", 2.0, 50.0, a=1.0),
    result("ongoing", 2.0, 61.0, 1, a=1.0),
    result("fixed", 5.0, 40.0, by_default=True),
    result("fixed", 5.0, 40.0, 1, by_default=True),
    result("queue_delay", 1.1, 40.0, unfinished=7),
    result("queue_delay", 1.1, 40.0, 1),
    result("static", 1.2, 10.0, published=False),
    result(OURS, 2.4, 59.0, published=False, target_p95_s=60.0),
    result(OURS, 2.4, 60.0, 1, published=False, target_p95_s=60.0),
    result(OURS, 2.0, 95.0, published=False, target_p95_s=90.0),
    result(OURS, 3.0, 50.0, by_default=True, published=False),
    result(CLAIRVOYANT, 1.5, 60.0, published=False, limit_s=60.0),
]


def test_every_policy_there_is_is_run_but_the_one_that_ours_replaces():
    assert set(matrix.BY_DEFAULT) == set(POLICIES) - ({"whatif"} if OURS != "whatif" else set())


def test_all_that_is_run_has_settings_that_exist_and_a_name_of_its_own():
    found = matrix.cases()
    assert len({(one.name, one.says()) for one in found}) == len(found)
    for case in found:
        if case.policy != CLAIRVOYANT:
            policy = matrix.policy_of(case)
            check_knobs(policy.name, policy.knobs)


def test_sweeps_have_no_bound_on_machines_and_go_down_to_nothing():
    by_policy = {one.policy: one.rest for one in matrix.SWEEPS}
    assert by_policy["queue_delay"]["workers_max"] == 0
    assert by_policy["ongoing"] == {"min_replicas": 0, "max_replicas": 0}


def test_ours_is_run_at_the_limit_of_every_column():
    targets = {one.settings.get("target_p95_s") for one in matrix.cases([OURS])}
    assert {one for limits in matrix.LIMITS_S.values() for one in limits} <= targets


def test_the_best_rule_is_the_cheapest_that_is_in_time_with_every_seed_and_ends():
    first = cells(points(TWO_SEEDS))[0]
    assert (first.rule.case.policy, first.rule.ratio, first.rule.p95_s) == ("qps", 3.2, 58.0)
    assert first.gain == pytest.approx(1 - 2.4 / 3.2)
    assert first.knowing.ratio == 1.5


def test_ours_gains_nothing_where_it_is_late():
    second = cells(points(TWO_SEEDS))[1]
    assert second.limit_s == 90
    assert second.rule.ratio == 2.0
    assert not second.in_time
    assert second.gain is None
    assert "95.0 s, late" in list(limits_table(points(TWO_SEEDS)))[3]


def test_tables_say_gains_defaults_and_every_case():
    found = points(TWO_SEEDS)
    said = gains(found, ["comput3"])
    assert said.startswith("In 1 of 2 cells ours and a rule are in time: on average ours costs 25.0% less")
    assert said.endswith("Ours is late in 1.")
    assert list(defaults_table(found))[2:] == [
        "| comput3 | x10 | 5.00 | 40.0 s | 3.00 | 50.0 s | 40.0% | 1.25 |"
    ]
    rows = list(full_table(found, "comput3"))
    assert "| queue_delay | defaults | does not end |" in rows
    assert len(rows) == 2 + len(found["comput3", 10.0])


def test_a_gain_below_none_is_told_as_a_loss():
    dearer = [result("qps", 2.0, 55.0, a=1.0), result(OURS, 2.1, 59.0, published=False, target_p95_s=60.0)]
    assert "in the worst cell 5.0% more" in gains(points(dearer), ["comput3"])


def test_the_page_names_what_was_run():
    said = page(points(TWO_SEEDS), 10_152, checked=False)
    assert "10,152 jobs" in said
    assert "not checked by anybody else" in said
    assert "## All of `comput3`" in said
    assert "- queue_delay, idle 60 s: workers_max=0, idle_timeout=60\n" in said


def test_the_picture_has_a_panel_a_row_and_a_mark_for_each_case_that_ends():
    other = [(replace(run, speed=50.0), one) for run, one in TWO_SEEDS]
    drawn = ET.fromstring(picture(points([*TWO_SEEDS, *other])))
    assert len([one for one in drawn.iter(f"{SVG}g") if "transform" in one.attrib]) == 2
    titles = [one.text for one in drawn.iter(f"{SVG}title")]
    assert len(titles) == 2 * 8
    assert "qps: a=1; cost 3.20, p95 58 s" in titles


def test_cheaper_is_lower_and_longer_is_further_right():
    drawn = ET.fromstring(picture(points(TWO_SEEDS)))
    at = {}
    for group in drawn.iter(f"{SVG}g"):
        title, dot = group.find(f"{SVG}title"), group.findall(f"{SVG}circle")
        if title is not None:
            at[title.text.split(";")[0]] = float(dot[-1].get("cx")), float(dot[-1].get("cy"))
    ours, qps = at["ours: target_p95_s=60"], at["qps: a=1"]
    assert ours[1] > qps[1]
    assert ours[0] > qps[0]


def test_results_are_kept_over_a_line_that_was_broken_off(tmp_path):
    path = tmp_path / "kept" / "runs.jsonl"
    Kept(path).add("a", DONE)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"key": "b", "resu')
    Kept(path).add("c", DONE)
    kept = Kept(path)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (DONE, None, DONE)
    assert kept.get("a", checked=True) is None


def test_a_result_is_found_again_only_for_the_same_run(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("t,service_s,model\n0,1,A\n", encoding="utf-8")
    run, _ = result("qps", 1.0, 1.0, target_qps_per_replica=0.1)
    others = [replace(run, seed=1), replace(run, speed=1.0), replace(run, scenario="salad")]
    others.append(replace(run, case=replace(run.case, settings={"target_qps_per_replica": 0.2})))
    others.append(replace(run, case=replace(run.case, policy="static")))
    keys = {key_of(one, trace) for one in [run, *others]}
    assert len(keys) == 6
    assert key_of(replace(run), trace) in keys


@pytest.fixture
def small(tmp_path):
    trace = tmp_path / "trace.csv"
    lines = [f"{number and 900 + number * 40},{5 + number % 7},M{number % 3}" for number in range(40)]
    trace.write_text("\n".join(["t,service_s,model", *lines]), encoding="utf-8")
    given = ["--trace", str(trace), "--cache", str(tmp_path / "runs.jsonl"), "--speeds", "10"]
    return [*given, "--scenarios", "comput3", "--seeds", "0", "--policies", "static", CLAIRVOYANT]


def test_a_part_is_printed_kept_and_written_only_where_it_is_said(small, tmp_path, capsys):
    assert autoscale.main([*small, "--out", str(tmp_path / "out")]) == 0
    first = capsys.readouterr()
    assert "| static | workers=4 |" in first.out
    assert (tmp_path / "out" / "autoscale.md").exists()
    assert not autoscale.whole(autoscale.options(small))
    kept = (tmp_path / "runs.jsonl").read_text(encoding="utf-8")
    assert len(kept.splitlines()) == len(autoscale.wanted(autoscale.options(small))) == 11
    assert autoscale.main(small) == 0
    assert capsys.readouterr().out == first.out
    assert (tmp_path / "runs.jsonl").read_text(encoding="utf-8") == kept


CHECKER = """
import json, sys
events = [json.loads(line) for line in open(sys.argv[2])]
came = {one["job"]: one["t"] for one in events if one["e"] == "arrival"}
waits = sorted(one["t"] + one["switch_s"] - came[one["job"]] for one in events if one["e"] == "start")
place = (len(waits) - 1) * 0.95
low = int(place)
p95 = waits[low] + (waits[min(low + 1, len(waits) - 1)] - waits[low]) * (place - low)
lease_s = sum(one["t"] * {"launch": -1, "terminate": 1, "fail": 1}.get(one["e"], 0) for one in events)
print(json.dumps({"metrics": {"wait_p95": p95 + SHIFT, "lease_s": lease_s}}))
sys.exit(FAULT)
"""


def test_every_log_is_given_to_the_checker(small, tmp_path):
    checker = tmp_path / "checker.py"
    checker.write_text(CHECKER.replace("SHIFT", "0").replace("FAULT", "0"), encoding="utf-8")
    assert autoscale.main([*small, "--verify", str(checker)]) == 0
    lines = (tmp_path / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(one)["result"]["checked"] for one in lines)


@pytest.mark.parametrize(("shift", "fault"), [("9", "0"), ("0", "1")])
def test_a_fault_or_another_figure_ends_it(small, tmp_path, capsys, shift, fault):
    checker = tmp_path / "checker.py"
    checker.write_text(CHECKER.replace("SHIFT", shift).replace("FAULT", fault), encoding="utf-8")
    assert autoscale.main([*small, "--verify", str(checker)]) == 1
    assert "the checker" in capsys.readouterr().err


def test_a_limit_that_nobody_can_meet_is_said(small, tmp_path, capsys):
    trace = tmp_path / "rush.csv"
    trace.write_text("t,service_s,model\n0,5,A\n0,5,A\n", encoding="utf-8")
    assert autoscale.main([*small, "--trace", str(trace)]) == 1
    assert "no schedule has a p95 wait of 60 s; leave it out" in capsys.readouterr().err


def test_without_a_trace_it_says_how_to_get_one(tmp_path, capsys):
    assert autoscale.main([]) == 2
    assert "cluster-trace-v2026-GenAI" in capsys.readouterr().err
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("gmt_create,exec_time_seconds\n", encoding="utf-8")
    assert autoscale.main(["--trace", str(wrong)]) == 2
    said = capsys.readouterr().err
    assert "no column t, service_s, model" in said
    assert "checkpoint_model_version_id" in said


def test_what_is_claimed_has_all_seeds_and_the_sweeps_of_others_the_first():
    chosen = autoscale.options(["--scenarios", "salad", "--speeds", "10"])
    seeds = {}
    for one in autoscale.wanted(chosen):
        seeds.setdefault((one.case.policy, one.case.says()), []).append(one.seed)
    assert (
        seeds[OURS, "target_p95_s=220"] == seeds[OURS, "defaults"] == seeds["fixed", "defaults"] == [0, 1, 2]
    )
    assert seeds[OURS, "target_p95_s=60"] == seeds["fixed", "idle_s=0"] == seeds["qps", "defaults"] == [0]
    assert seeds[CLAIRVOYANT, "limit_s=150"] == [0]
