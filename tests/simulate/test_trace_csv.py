"""Traces are read as they are, and every fault is told with its line and field."""

import math

import pytest

from scaling.simulate import TraceError, read_trace

HEAD = "t,service_s,model\n"


@pytest.fixture
def csv(tmp_path):
    def write(text):
        path = tmp_path / "jobs.csv"
        path.write_text(text)
        return path

    return write


def test_a_job_a_row_with_its_time_divided_by_the_speed(csv):
    trace = read_trace(csv(HEAD + "0,32,M0\n4704,43.5,M1\n4704,3,\n"), speed=10)
    assert [(one.row, one.t_s, one.service_s, one.model) for one in trace.arrivals] == [
        (0, 0.0, 32.0, "M0"),
        (1, 470.4, 43.5, "M1"),
        (2, 470.4, 3.0, ""),
    ]
    assert trace.arrivals[2].need.model is None
    assert trace.speed == 10
    assert trace.models() == {"comfyui": ("M0", "M1")}


def test_jobs_alike_share_one_need(csv):
    first, second, other = read_trace(csv(HEAD + "0,1,M0\n1,9,M0\n2,1,M1\n")).arrivals
    assert first.need is second.need
    assert first.need != other.need


def test_deadlines_count_from_the_arrival_and_are_not_sped_up(csv):
    text = (
        "t,service_s,model,engine,priority,start_within_s,complete_in_s,low_priority\n"
        "100,5,M0,whisper,-3,60,600,true\n"
        "100,5,M0,,,,,\n"
    )
    bound, free = read_trace(csv(text), speed=2).arrivals
    assert (bound.need.engine, bound.need.priority, bound.need.low_priority) == ("whisper", -3, True)
    assert (bound.start_by_s, bound.complete_by_s) == (110, 650)
    assert (free.need.engine, free.need.priority, free.need.low_priority) == ("comfyui", 0, False)
    assert (free.start_by_s, free.complete_by_s) == (math.inf, math.inf)


def test_one_bound_on_the_run_covers_the_longest(csv):
    assert read_trace(csv(HEAD + "0,5,M\n")).arrivals[0].need.max_time_s == 1200
    assert read_trace(csv(HEAD + "0,5,M\n1,5000,M\n")).arrivals[0].need.max_time_s >= 10_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t,model\n0,M\n", "line 1: no column service_s"),
        ("t,service_s,model,size\n", "line 1: unknown column size"),
        ("", "line 1: no column"),
        (HEAD + "0,1,M\nsoon,1,M\n", "line 3: t: 'soon' is no number"),
        (HEAD + "0,,M\n", "line 2: service_s: '' is no number"),
        (HEAD + "0,-1,M\n", "line 2: service_s: -1 must be at least 0"),
        (HEAD + "nan,1,M\n", "line 2: t: nan must be finite"),
        (HEAD + "5,1,M\n4,1,M\n", "line 3: t: 4 comes after 5"),
        (HEAD + "0,1,M,more\n", "line 2: more cells than columns"),
        (HEAD + "0\n", "line 2: service_s: '' is no number"),
        ("t,service_s,model,priority\n0,1,M,0.5\n", "line 2: priority: '0.5' is no whole number"),
        ("t,service_s,model,low_priority\n0,1,M,perhaps\n", "line 2: low_priority: 'perhaps'"),
        ("t,service_s,model,start_within_s\n0,1,M,-1\n", "line 2: start_within_s: -1 must be"),
    ],
)
def test_a_fault_is_told_with_its_line_and_field(csv, text, said):
    path = csv(text)
    with pytest.raises(TraceError, match=str(path)) as told:
        read_trace(path)
    assert said in str(told.value)


def test_what_is_no_file_and_no_text_is_refused(tmp_path):
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"t,service_s,model\n\xff\xfe,1,M\n")
    with pytest.raises(TraceError, match="UTF-8"):
        read_trace(tmp_path / "bytes.csv")


@pytest.mark.parametrize("speed", [0, -1, math.inf, math.nan])
def test_a_speed_is_above_nothing(csv, speed):
    with pytest.raises(TraceError, match="speed"):
        read_trace(csv(HEAD), speed)
