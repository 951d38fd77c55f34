"""Priors from gpu_targets.json, and history on top of them."""

import pytest

from gpulease.contract.targets import Target, Targets
from orchestrator.fleet.targets import NO_PRIORS, priors_of, read_priors
from orchestrator.observe import estimates
from orchestrator.settings import SettingsError, load
from orchestrator.store.rows import Fleet, ServiceTime
from scaling.estimate import LOAD_PRIOR, NOTHING_LOADS, SERVICE_PRIOR, Times
from scaling.snapshot import Estimate, Estimates, Need

KIND = ("csm", "large", "RTX 4090")


def row(service_s=4.0, p95_s=5.0, load_s=20.0, **named):
    given = {"engine": "csm", "model": "large", "gpu_class": "RTX 4090", "source": "a test", **named}
    return Target(service_s_p50=service_s, service_s_p95=p95_s, load_s=load_s, **given)


def fleet(service=(), load=()):
    return Fleet((), (), (), service, (), load)


def test_a_row_is_a_prior_of_service_and_of_load():
    priors = priors_of([row(), row(model=None, engine="blender", p95_s=None, load_s=None)])
    assert priors.service[KIND] == Estimate(4.0, 5.0, 0, 12.0)
    assert priors.load[KIND].mean_s == 20.0
    blender = ("blender", "", "RTX 4090")
    assert priors.service[blender] == Estimate(4.0, 12.0, 0, 12.0)
    assert blender not in priors.load


def test_of_several_backends_the_slowest_counts():
    rows = [row(9.0, 9.5, backend="b"), row(4.0, backend="a"), row(2.0, 3.0, backend="c")]
    assert priors_of(rows).service[KIND].mean_s == 9.0


def test_without_history_the_prior_is_the_estimate_and_history_replaces_it():
    priors = priors_of([row()])
    fresh = estimates(fleet(), (), priors)
    assert fresh.service[KIND].mean_s == 4.0
    assert fresh.load[KIND].mean_s == 20.0
    seen = fleet((ServiceTime(*KIND, (10.0,) * 47),), (ServiceTime(*KIND, (2.0,) * 47),))
    learned = estimates(seen, (), priors)
    assert learned.service[KIND].mean_s == pytest.approx((3 * 4.0 + 47 * 10.0) / 50)
    assert learned.load[KIND].mean_s == pytest.approx((3 * 20.0 + 47 * 2.0) / 50)


def test_without_a_row_a_model_is_like_the_others_of_its_engine_and_those_like_the_general_prior():
    other = ServiceTime(KIND[0], "other", KIND[2], (4.0,) * 5)
    seen = estimates(fleet((ServiceTime(*KIND, (10.0,)), other), (ServiceTime(*KIND, (2.0,)),)), ())
    pool_s = (3 * SERVICE_PRIOR.mean_s + 10.0 + 5 * 4.0) / 9
    assert seen.service[KIND].mean_s == pytest.approx((3 * pool_s + 10.0) / 4)
    alone_s = (3 * LOAD_PRIOR.mean_s + 2.0) / 4
    assert seen.load[KIND].mean_s == pytest.approx((3 * alone_s + 2.0) / 4)


def test_loads_fall_back_to_the_engine_and_then_to_what_anything_takes():
    times = Times(Estimates(load={KIND: Estimate(20.0, 30.0, 5)}))
    assert times.load(Need("csm", "large"), "RTX 4090").mean_s == 20.0
    assert times.load(Need("csm", "small"), "H200").mean_s == pytest.approx(20.0)
    assert times.load(Need("whisper", "tiny"), "cpu") == LOAD_PRIOR
    assert times.load(Need("command"), "cpu") == NOTHING_LOADS


def test_the_file_is_read(tmp_path):
    path = tmp_path / "targets.json"
    path.write_text(Targets().with_rows([row()]).model_dump_json())
    assert read_priors(path).service[KIND].mean_s == 4.0
    assert read_priors(None) is NO_PRIORS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("no JSON", "Invalid JSON"),
        ('{"targets": [{"engine": "csm"}]}', "targets.0.gpu_class"),
        ('{"targets": 7}', "gpu_targets.md"),
    ],
)
def test_a_file_that_is_none_stops_the_start(tmp_path, text, says):
    path = tmp_path / "targets.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=says):
        read_priors(path)


def test_the_file_of_this_folder_is_taken_where_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load().gpu_targets is None
    (tmp_path / "gpu_targets.json").write_text("{}")
    assert read_priors(load().gpu_targets) == NO_PRIORS
    other = tmp_path / "other.json"
    monkeypatch.setenv("GPULEASE_GPU_TARGETS", str(other))
    assert load().gpu_targets == other
