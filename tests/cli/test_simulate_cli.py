"""`gpulease simulate`: figures on stdout, talk on stderr, one clear message where it is asked wrongly."""

import json

import pytest

from gpulease.cli.main import main
from gpulease.cli.policy import simulate as command

TRACE = "t,service_s,model\n0,30,M0\n5,30,M0\n400,30,M1\n"


@pytest.fixture
def simulate(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.csv").write_text(TRACE)

    def run(*arguments, trace="jobs.csv"):
        try:
            status = main(["simulate", "--trace", trace, *arguments]) or 0
        except SystemExit as ended:
            status = ended.code
        return status, *capsys.readouterr()

    return run


def test_json_has_the_figures_and_what_was_asked(simulate):
    status, said, talk = simulate("--policy", "fixed", "--scenario", "salad", "--speed", "2", "--json")
    assert (status, talk) == (0, "")
    report = json.loads(said)
    assert [report[one] for one in ("policy", "scenario", "speed", "seed")] == ["fixed", "salad", 2.0, 0]
    assert (report["jobs"], report["unfinished"]) == (3, 0)
    assert report["billed_s"] == pytest.approx(report["cost_usd"] * 3600)
    assert report["busy_s"] - report["load_s"] == pytest.approx(90)


def test_people_get_a_table(simulate):
    status, said, _ = simulate()
    assert status == 0
    assert "wait mean / p50 / p95 / p99 / max" in said


def test_the_log_is_a_line_an_event_and_says_how_it_was_made(simulate, tmp_path):
    simulate("--events", "log.jsonl", "--seed", "4", "--speed", "2")
    first, *events = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    facts = {"seed": 4, "scale": 2.0, "median_s": 45.0, "p95_s": 90.0, "fail_p": 0.03, "switch_s": 22.718}
    assert first.items() >= (facts | {"e": "meta", "max_nodes": 500}).items()
    assert [one["t"] for one in events if one["e"] == "arrival"] == [0.0, 2.5, 200.0]


def test_the_seed_decides(simulate):
    same = [simulate("--seed", "1", "--json")[1] for _ in range(2)]
    assert same[0] == same[1]
    assert json.loads(same[0])["billed_s"] != json.loads(simulate("--seed", "2", "--json")[1])["billed_s"]


def test_settings_and_knobs_of_the_policy_are_set_by_name(simulate):
    short, long = (
        json.loads(simulate("--policy", "fixed", "--set", f"idle_s={idle_s}", "--json")[1])["idle_s"]
        for idle_s in (20, 300)
    )
    assert short < long
    static = simulate("--policy", "static", "--set", "workers=3", "--json")
    assert json.loads(static[1])["peak_workers"] == 3
    one = simulate("--policy", "fixed", "--set", "limits.workers_max=1", "--json")
    assert json.loads(one[1])["peak_workers"] == 1
    ten = simulate("--policy", "static", "--set", "workers=20", "--set", "limits.workers_max=10", "--json")
    assert json.loads(ten[1])["peak_workers"] == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--policy", "best"), "no policy is called 'best'; there are concurrency, fixed"),
        (("--set", "idle"), "--set idle: it must be NAME=VALUE"),
        (("--set", "workers=3"), "policy 'whatif' has no such setting; it has"),
        (("--policy", "static", "--set", "workers=-1"), "workers must be a whole number"),
        (("--set", "idle_s=soon"), "--set idle_s=soon: Input should be a valid number"),
        (("--set", "idle_s=-1"), "--set idle_s=-1.0: it must be 0 or more"),
        (("--set", "aim=quick"), "--set aim=quick: Input should be 'cheap', 'balanced' or 'fast'"),
        (("--set", "limits.workers_max=many"), "--set limits.workers_max=many"),
        (("--scenario", "moon"), "moon: No such file or directory; give a file, or one of comput3"),
        (("--speed", "0"), "speed 0.0 must be above 0"),
    ],
)
def test_a_wrong_question_is_told_what_is_right(simulate, arguments, said):
    status, out, talk = simulate(*arguments)
    assert (status, out) == (2, "")
    assert said in talk


def test_a_line_that_cannot_be_read_is_named(simulate, tmp_path):
    (tmp_path / "odd.csv").write_text("t,service_s,model\n0,long,M\n")
    status, _, talk = simulate(trace="odd.csv")
    assert (status, talk) == (2, "gpulease: odd.csv line 2: service_s: 'long' is no number\n")


def test_a_log_that_cannot_be_written_is_one_message(simulate):
    status, _, talk = simulate("--events", "none/log.jsonl")
    assert status == 1
    assert "No such file or directory" in talk


def test_jobs_that_never_ran_are_a_failure(simulate, tmp_path):
    (tmp_path / "low.csv").write_text("t,service_s,model,low_priority\n0,30,M0,true\n")
    status, said, talk = simulate("--json", trace="low.csv")
    assert status == 1
    assert json.loads(said)["unfinished"] == 1
    assert "1 jobs never ran" in talk


def test_what_takes_long_says_how_far_it_is(capsys):
    passed = []
    progress = command.Progress(3, passed.append, tell_at=0.0)
    progress({"e": "finish", "t": 1.0})
    progress({"e": "finish", "t": 2.0})
    assert capsys.readouterr().err == "1 of 3 jobs are done …\n"
    assert len(passed) == 2
